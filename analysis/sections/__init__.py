"""The report's sections: a question, what is read from the figure, and the figure."""
