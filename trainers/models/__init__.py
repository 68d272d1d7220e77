"""Segmentation models; `build.build_model` makes one from the config."""
