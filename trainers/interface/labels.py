"""What labels mean to every data set, loss and method."""

IGNORE = 255
"""The label of a pixel that no loss and no score counts."""
