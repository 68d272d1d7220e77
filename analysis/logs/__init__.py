"""Readers of W&B logs: offline files and the W&B server, into the same rows."""
