"""Images of another number of bands than three, as `data.bands` says, and what their numbers mean. `band_files` reads
the files.

============================  ===============================================================================
TIFF                          bands side by side or one after the other; or a page for each band
.npy                          (H, W, bands); where the last axis is not the bands, (bands, H, W)
two and four bands            also formats of Pillow's with one band of transparency, taken as a band like others
8 to 16 bits, unsigned        by the range of so many bits; of more than 8 by `data.value_range`, where it is given
signed, 32 bits               only with `data.value_range`
float                         0 .. 1, or `data.value_range`
============================  ===============================================================================

All become 16 bits, 0 .. 65535, so that a scene that uses a tenth of its range keeps more than 25 levels of it. 8 bits
become 257 times their value, which as a share of the range is the same number.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.data.band_files import Stored, at, refuse_number, stored_in
from trainers.data.header import Header
from trainers.data.layout import Item
from trainers.data.opening import MeaningError
from trainers.data.orientation import turned

FULL = 65535
FLOAT_SLACK = 1e-6
STRETCH = (2, 98)


def bands_header(path: Path, item: Item) -> Header:
    """As `trainers.data.pixels.read_header`."""
    with stored_in(path, item) as (stored, _):
        _refuse_unread(path, item, stored)
        turn = 1 if item.decoding.exif == "ignore" else stored.orientation
        height, width, _ = stored.shape
        return Header(
            size=(width, height) if turn >= 5 else (height, width),
            kind=stored.kind,
            turned=turn,
            by_pixels=stored.cut_off or stored.dtype.kind == "f",
        )


def bands_array(path: Path, item: Item) -> NDArray[np.uint16]:
    """The image (H, W, `data.bands`), 0 .. 65535, turned as viewers do unless `data.exif: ignore`.

    Raises:
        CorruptError: it cannot be opened or decoded.
        MeaningError: it has another number of bands, or what its pixels mean is not known.
        ConfigError: the package that reads it is not installed.
    """
    with stored_in(path, item) as (stored, load):
        _refuse_unread(path, item, stored)
        pixels = _sixteen_bits(path, item, stored, load())
        return turned(pixels, 1 if item.decoding.exif == "ignore" else stored.orientation)


def raw_bands(path: Path, item: Item) -> tuple[Stored, NDArray[Any]]:
    """What a file holds, and its values (H, W, bands) as they are stored, not turned. Raises as :func:`bands_array`."""
    with stored_in(path, item) as (stored, load):
        refuse_number(path, item, stored.shape[2])
        return stored, load()


def _refuse_unread(path: Path, item: Item, stored: Stored) -> None:
    refuse_number(path, item, stored.shape[2])
    kind, wide = stored.dtype.kind, stored.dtype.itemsize > 2
    if kind not in "uif":
        raise MeaningError(f"{path}: values of type {stored.dtype} are no pixels {at(item)}")
    if (kind == "i" or (kind == "u" and wide)) and item.decoding.value_range is None:
        raise MeaningError(
            f"{path}: {stored.kind} values have no range that goes without saying {at(item)}; set data.value_range: "
            "[darkest, brightest]"
        )


def _sixteen_bits(path: Path, item: Item, stored: Stored, values: NDArray[Any]) -> NDArray[np.uint16]:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise MeaningError(f"{path}: holds values that are NaN or infinite {at(item)}; write a number in their place")
    asked = item.decoding.value_range
    if values.dtype.kind == "u" and (asked is None or stored.bits <= 8):
        low, high = 0.0, float(2**stored.bits - 1)
        if high == FULL:
            return values.astype(np.uint16)
    else:
        low, high = asked or (0.0, 1.0)
    if asked is None and (values.min() < low - FLOAT_SLACK or values.max() > high + FLOAT_SLACK):
        raise MeaningError(
            f"{path}: values of {values.min():.4g} .. {values.max():.4g}, read without data.value_range are "
            f"{low:g} .. {high:g} {at(item)}; set data.value_range: [darkest, brightest]"
        )
    return np.rint((values.astype(np.float64) - low) / (high - low) * FULL).clip(0, FULL).astype(np.uint16)


def picture_of(image: Tensor, shown: list[int]) -> Tensor:
    """Three bands (3, H, W) uint8 of an image to look at. RGB of 8 bits as it is; others from 0 to 255 between the 2nd
    and the 98th percentile of their values, since satellite images use little of their range.

    Args:
        image: as readers give it, (bands, H, W) uint8 or uint16.
        shown: the bands.
    """
    found = image[shown]
    if found.dtype == torch.uint8:
        return found
    values = found.numpy().astype(np.float64)
    low, high = np.percentile(values, STRETCH)
    stretched = (values - low) / max(1.0, high - low) * 255
    return torch.from_numpy(np.rint(stretched).clip(0, 255).astype(np.uint8))
