"""Connected regions of a map."""

import numpy as np


def boxes_of(shown: np.ndarray, *, least: float) -> list[tuple[slice, slice]]:
    """Bounding boxes (rows, columns) of the connected regions of ``shown`` (H, W) bool, corners touching, that have
    ``least`` pixels or more."""
    from scipy import ndimage  # not needed to read a config

    regions, _ = ndimage.label(shown, structure=np.ones((3, 3)))
    sizes = np.bincount(regions.ravel())[1:]
    found = zip(ndimage.find_objects(regions), sizes, strict=True)
    return [(box[0], box[1]) for box, count in found if count >= least]
