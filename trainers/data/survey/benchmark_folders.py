"""Folders of masks whose values a benchmark has defined, which the masks themselves do not show."""

from collections.abc import Set
from pathlib import Path

READ_IT = 'reads it with its class names (docs/how-to/add-a-data-set.md, "COCO and ADE20K")'
ADE20K_CLASSES, COCO_LABELS = 150, 182


def benchmark_lines(images: Path, masks: Path, values: Set[int]) -> tuple[str, ...]:
    """What to say where folders are called as ADE20K's or COCO-Stuff's, and masks hold values as theirs do.

    Args:
        images, masks: the two folders.
        values: of all masks, 255 left out.
    """
    largest = max(values, default=0)
    if "annotations" in masks.parts and "images" in images.parts and 100 <= largest <= ADE20K_CLASSES:
        what = "ADE20K, whose 0 is whatever no class is"
        mends = f"data.name: ade20k {READ_IT}; --label-map reduce_zero ignores 0"
    elif "stuffthingmaps" in masks.parts and largest < COCO_LABELS:
        what = "COCO-Stuff, whose values leave some numbers out"
        mends = f"data.name: coco with mask_dir: stuffthingmaps and mask_values: label_ids {READ_IT}"
    else:
        return ()
    return (f"warning: the folders and values look like {what}: {mends}",)
