"""Weights & Biases: one run per trial."""
