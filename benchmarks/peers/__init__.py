"""Searches of other projects on the problems of `benchmarks.anytime`, each project in an environment of its own."""
