"""What loop, methods and whoever watches a training agree on."""
