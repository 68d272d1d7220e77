"""The study file: its schema, its search space, and everything that is checked before anything starts."""
