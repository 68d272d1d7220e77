"""Images of another number of bands than three, as `data.bands` says: TIFF files by tifffile, arrays in .npy files, and
what Pillow has with a band of transparency.

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

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.common.errors import ConfigError
from trainers.data.header import Header
from trainers.data.layout import Item
from trainers.data.opening import CorruptError, MeaningError, named_fault, opened
from trainers.data.orientation import ORIENTATION, turned

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it cannot read is said by name here

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
NUMPY = b"\x93NUMPY"
ARRAY = ".npy"
"""Ending of arrays."""
PARTS_OF_A_PAGE = 0b101
"""Kinds of TIFF pages that are no pages of their own: reduced copies and masks."""
OF_PILLOW = {2: "LA", 4: "RGBA"}
FULL = 65535
FLOAT_SLACK = 1e-6
STRETCH = (2, 98)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Pixels as a file has them.

    Args:
        shape: (height, width, bands).
        dtype: of the values.
        bits: of which they use so many.
        orientation: 1 .. 8, as EXIF and TIFF count.
        cut_off: the file is shorter than its header says.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    bits: int
    orientation: int = 1
    cut_off: bool = False

    @property
    def kind(self) -> str:
        """Bands and depth in words."""
        sort = {"f": "float ", "i": "signed "}.get(self.dtype.kind, "")
        return f"{self.shape[2]} bands of {sort}{self.bits}-bit"


def bands_header(path: Path, item: Item) -> Header:
    """As `trainers.data.pixels.read_header`."""
    with _stored(path, item) as (stored, _):
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
    with _stored(path, item) as (stored, load):
        _refuse_unread(path, item, stored)
        pixels = _sixteen_bits(path, item, stored, load())
        return turned(pixels, 1 if item.decoding.exif == "ignore" else stored.orientation)


def raw_bands(path: Path, item: Item) -> tuple[Stored, NDArray[Any]]:
    """What a file holds, and its values (H, W, bands) as they are stored, not turned. Raises as :func:`bands_array`."""
    with _stored(path, item) as (stored, load):
        _refuse_number(path, item, stored.shape[2])
        return stored, load()


def bands_of(path: Path) -> int | None:
    """How many bands a TIFF or an .npy file has, where its header says so: of an array the shorter of its first and its
    last axis. None of other files, and of those that cannot be read."""
    with contextlib.suppress(Exception):
        start = _start(path)
        if start.startswith(NUMPY):
            shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
            return min(shape[0], shape[2]) if len(shape) == 3 else 1 if len(shape) == 2 else None
        if start.startswith(TIFF):
            with _tifffile(path).TiffFile(path) as file:
                pages = _whole_pages(file)
                return len(pages) if len(pages) > 1 else int(pages[0].samplesperpixel)
    return None


Load = Callable[[], NDArray[Any]]
"""Gives the values (H, W, bands)."""


@contextlib.contextmanager
def _stored(path: Path, item: Item) -> Iterator[tuple[Stored, Load]]:
    """What a file holds, and how it is read; its faults by name."""
    try:
        start = _start(path)
        if start.startswith(NUMPY):
            yield _of_array(path, item)
            return
        if start.startswith(TIFF):
            with _tifffile(path).TiffFile(path) as file:
                yield _of_tiff(path, item, file)
            return
    except (ConfigError, CorruptError, MeaningError):
        raise
    except Exception as error:  # of many kinds
        if "imagecodecs" in str(error):
            raise ConfigError(f"{path}: is compressed in a way that needs imagecodecs: {_INSTALL}") from error
        raise named_fault(path, item, error) from error
    with opened(path, item) as image:
        bands = len(image.getbands())
        mode = OF_PILLOW.get(item.decoding.bands)
        if image.mode != mode:
            _refuse_number(path, item, bands)
            raise MeaningError(f"{path}: {image.format} images of mode {image.mode} are not read as bands {_at(item)}")
        shape = (image.height, image.width, bands)
        yield Stored(shape=shape, dtype=np.dtype(np.uint8), bits=8), lambda: np.array(image)


_INSTALL = "pip install 'ipix-tune[bands]'"


def _tifffile(path: Path) -> ModuleType:
    try:
        import tifffile
    except ImportError as error:
        raise ConfigError(f"{path}: TIFF files of other than three bands need tifffile: {_INSTALL}") from error
    found: ModuleType = tifffile
    return found


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(8)


def _of_array(path: Path, item: Item) -> tuple[Stored, Load]:
    found = np.load(path, mmap_mode="r", allow_pickle=False)
    last = _bands_last(path, item, found)
    return Stored(shape=last.shape, dtype=found.dtype, bits=8 * found.dtype.itemsize), lambda: np.array(last)


def _bands_last(path: Path, item: Item, found: NDArray[Any]) -> NDArray[Any]:
    """As (H, W, bands)."""
    bands = item.decoding.bands
    if found.ndim == 3 and found.shape[2] == bands:
        return found
    if found.ndim == 3 and found.shape[0] == bands:
        return found.transpose(1, 2, 0)
    raise MeaningError(
        f"{path}: an array of shape {found.shape}, and data.bands is {bands} {_at(item)}; an image is (height, width, "
        f"{bands}) or ({bands}, height, width)"
    )


def _of_tiff(path: Path, item: Item, file: Any) -> tuple[Stored, Load]:
    pages = _whole_pages(file)
    first = pages[0]
    axes = {"YXS": None, "SYX": (1, 2, 0)}
    if len(pages) > 1:
        alike = {(page.axes, page.shape, str(page.dtype)) for page in pages}
        if len(alike) > 1 or first.axes != "YX":
            raise MeaningError(
                f"{path}: {len(pages)} pages that are not the bands of one image {_at(item)}; write a file for each"
            )
        shape = (*first.shape, len(pages))
    elif first.axes in axes:
        order = axes[first.axes]
        shape = first.shape if order is None else tuple(first.shape[axis] for axis in order)
    else:
        shape = (first.imagelength, first.imagewidth, int(first.samplesperpixel))
    tag = first.tags.get(ORIENTATION)
    orientation = int(tag.value) if tag is not None and 1 <= int(tag.value) <= 8 else 1
    size = path.stat().st_size
    cut_off = any(
        begin + count > size
        for page in pages
        for begin, count in zip(page.dataoffsets, page.databytecounts, strict=True)
    )
    bits = first.bitspersample
    stored = Stored(
        shape=shape,
        dtype=np.dtype(first.dtype),
        bits=int(bits[0] if isinstance(bits, tuple) else bits),
        orientation=orientation,
        cut_off=cut_off,
    )

    def load() -> NDArray[Any]:
        try:
            if len(pages) > 1:
                return np.stack([page.asarray() for page in pages], axis=-1)
            values: NDArray[Any] = first.asarray()
            return values if (order := axes.get(first.axes)) is None else values.transpose(order)
        except Exception as error:
            if "imagecodecs" in str(error):
                raise
            raise CorruptError(str(named_fault(path, item, error))) from error

    return stored, load


def _whole_pages(file: Any) -> list[Any]:
    return [page for page in file.pages if not int(page.subfiletype) & PARTS_OF_A_PAGE] or [file.pages[0]]


def _at(item: Item) -> str:
    return f"(named in {item.where or item.name})"


def _refuse_number(path: Path, item: Item, bands: int) -> None:
    if bands != item.decoding.bands:
        raise MeaningError(
            f"{path}: {bands} band{'s' * (bands != 1)}, and data.bands is {item.decoding.bands} {_at(item)}; "
            f"{bands_remedy(bands)}"
        )


def bands_remedy(bands: int) -> str:
    """What to set for images of so many bands."""
    if bands in (1, 3):
        return "leave data.bands out, and model.in_channels, mean and std with it, where all images are grey or RGB"
    return (
        f"where all images have {bands}, set data.bands: {bands}, model.in_channels: {bands}, and model.mean and "
        f"model.std with {bands} values each, which ipix-tune init measures"
    )


def _refuse_unread(path: Path, item: Item, stored: Stored) -> None:
    _refuse_number(path, item, stored.shape[2])
    kind, wide = stored.dtype.kind, stored.dtype.itemsize > 2
    if kind not in "uif":
        raise MeaningError(f"{path}: values of type {stored.dtype} are no pixels {_at(item)}")
    if (kind == "i" or (kind == "u" and wide)) and item.decoding.value_range is None:
        raise MeaningError(
            f"{path}: {stored.kind} values have no range that goes without saying {_at(item)}; set data.value_range: "
            "[darkest, brightest]"
        )


def _sixteen_bits(path: Path, item: Item, stored: Stored, values: NDArray[Any]) -> NDArray[np.uint16]:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise MeaningError(f"{path}: holds values that are NaN or infinite {_at(item)}; write a number in their place")
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
            f"{low:g} .. {high:g} {_at(item)}; set data.value_range: [darkest, brightest]"
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
