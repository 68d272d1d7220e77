"""Statistics of a confirmation with paired seeds."""
