"""How many bands the images of a new data set have, and the mean and deviation of each."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainers.data.band_files import bands_of
from trainers.data.layout import RGB_BANDS, Item
from trainers.data.opening import MeaningError
from trainers.data.pixels import image_array
from trainers.data.survey.looking import SeenImage

DECIMALS = 4


def most_bands(paths: Sequence[Path]) -> int:
    """The number of bands of most images; 3 where that is one or three, which are read as RGB. A fourth band that is
    named as transparency is one of its own where it is not opaque."""
    found = Counter(_bands(path) for path in paths)
    (bands, _), *_ = found.most_common()
    return bands


def _bands(path: Path) -> int:
    bands = bands_of(path)
    if bands is None or bands in (1, RGB_BANDS):
        return RGB_BANDS
    if bands == 4:
        try:
            image_array(path, Item(image=path))
        except MeaningError:
            return bands
        except Exception:
            return RGB_BANDS  # whoever reads it says what is wrong
        return RGB_BANDS
    return bands


def normalisation_of(
    images: Sequence[SeenImage], value_range: Sequence[float] | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each band over all pixels of these images, in 0 .. 1 as `data.value_range` brings them
    there."""
    pixels = sum(one.size[0] * one.size[1] for one in images)
    sums, squares = np.array([one.sums for one in images]).sum(axis=0).T
    mean = sums / pixels
    deviation = np.sqrt(np.maximum(squares / pixels - mean**2, 0))
    low, high = value_range or (0.0, _brightest(images))
    mean, deviation = (mean - low) / (high - low), deviation / (high - low)
    smallest = 10.0**-DECIMALS
    return (
        tuple(round(float(one), DECIMALS) for one in mean),
        tuple(round(max(float(one), smallest), DECIMALS) for one in deviation),
    )


def _brightest(images: Sequence[SeenImage]) -> float:
    """What becomes 1 where nothing is said."""
    (kind, _), *_ = Counter(one.kind.rpartition(" of ")[2] for one in images).most_common()
    return 1.0 if kind.startswith("float") else float(2 ** int(kind.removesuffix("-bit")) - 1)
