"""A data set in VOC layout with real JPEG files, of the sizes that Pascal VOC's have, for timings only."""

from pathlib import Path

import numpy as np
from PIL import Image

IMAGES = 96
SIZES = ((375, 500), (333, 500), (500, 375))
"""(height, width); the most common ones of VOC first."""
LINES = 8_000
"""Of each split: the lists go round and round the images, so that no run comes to the end of an epoch."""


def make(folder: Path, *, classes: int = 21) -> Path:
    """JPEGImages, SegmentationClass and two lists, cut from scikit-learn's sample photographs; made once."""
    if (folder / "unlabelled.txt").exists():
        return folder
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    for name in ("JPEGImages", "SegmentationClass"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(IMAGES):
        height, width = SIZES[min(int(rng.integers(6)), 2) if rng.random() < 0.5 else 0]
        photo = photos[index % len(photos)]
        share = rng.uniform(0.5, 1)
        side_x, side_y = share * photo.width, share * photo.height
        left, top = rng.uniform(0, photo.width - side_x), rng.uniform(0, photo.height - side_y)
        image = photo.resize((width, height), box=(left, top, left + side_x, top + side_y))
        noisy = np.asarray(image, dtype=np.float32) + rng.normal(0, 6, (height, width, 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / "JPEGImages" / f"{index:04}.jpg", quality=95)
        coarse = rng.integers(0, classes, (6, 8), dtype=np.uint8)
        mask = Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST)
        mask.save(folder / "SegmentationClass" / f"{index:04}.png")
    for name, shift in (("holdout", 0), ("labelled", 8), ("unlabelled", 31)):
        count = 8 if name == "holdout" else LINES
        numbers = [index if name == "holdout" else 8 + (index + shift) % (IMAGES - 8) for index in range(count)]
        lines = (f"JPEGImages/{number:04}.jpg SegmentationClass/{number:04}.png\n" for number in numbers)
        (folder / f"{name}.txt").write_text("".join(lines))
    return folder
