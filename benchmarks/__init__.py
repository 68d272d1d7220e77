"""Measurements whose figures are kept in benchmarks/results/, each with the command that makes it."""
