"""Semi-supervised methods, one file each; `registry` lists them."""
