"""Errors, config sections, YAML, retries: what has nothing to do with segmentation."""
