"""A command of the user's as the trainer: any program that takes its settings from its arguments or a file."""
