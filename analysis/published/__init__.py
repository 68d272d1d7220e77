"""Published tables that a study may mirror, as data, and their reader."""
