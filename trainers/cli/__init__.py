"""The command lines of the trainer."""
