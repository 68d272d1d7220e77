"""What a folder of images and masks holds, found by looking: `ipix-tune init` writes a first study from it."""
