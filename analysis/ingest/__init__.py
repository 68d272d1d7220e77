"""From W&B's files to the tables."""
