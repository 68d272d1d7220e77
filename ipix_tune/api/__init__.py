"""What a notebook or a script needs; `import ipix_tune` gives it by name."""
