"""A study from its file to its end: plan, search, confirmation, export."""
