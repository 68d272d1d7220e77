"""One training over several processes."""
