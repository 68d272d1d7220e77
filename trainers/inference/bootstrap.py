"""Intervals for scores of a test set: its images are resampled, the training stays the one it is."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RESAMPLES = 2000
LEVEL = 0.95
AT_ONCE = 2**24
"""Numbers of a block of resamples, at most."""


def image_intervals(
    counts: Floats, measures: Callable[[Floats], Floats], *, resamples: int = RESAMPLES, seed: int = 0
) -> Floats:
    """Percentile bootstrap intervals at 95 % (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter
    13), (2, K): lower and upper ends.

    Every resample draws as many images as there are, with replacement, and computes each measure from the sums of
    their counts. The intervals say how the scores of this one network vary with the choice of images; they say nothing
    of other seeds.

    Args:
        counts: of every image, (N, ...).
        measures: sums of counts (R, ...) -> K measures of each, (R, K); NaN where a measure is not defined. Resamples
            in which it is not defined are left out of its interval.
        resamples: how many are drawn.
        seed: of the draws.

    Returns:
        NaN for all measures where there is only one image, and for those that are defined in no resample.
    """
    images = len(counts)
    flat = counts.reshape(images, -1).astype(np.float64)
    rng = np.random.default_rng([seed, images])
    found = []
    block = max(1, min(resamples, AT_ONCE // max(images, flat.shape[1])))
    for begin in range(0, resamples, block):
        drawn = rng.multinomial(images, np.full(images, 1 / images), size=min(block, resamples - begin))
        sums = drawn.astype(np.float64) @ flat
        found.append(measures(sums.reshape(-1, *counts.shape[1:])))
    values = np.concatenate(found)
    ends = np.full((2, values.shape[1]), np.nan)
    defined = ~np.isnan(values).all(axis=0)
    if images > 1 and defined.any():
        ends[:, defined] = np.nanquantile(values[:, defined], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return ends
