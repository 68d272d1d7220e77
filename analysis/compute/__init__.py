"""Cached and parallel work of a report."""
