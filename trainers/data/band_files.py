"""Files of images with another number of bands than three: TIFF by tifffile, arrays in .npy files, and what Pillow has
with a band of transparency."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainers.common.errors import ConfigError
from trainers.data.layout import Item
from trainers.data.opening import CorruptError, MeaningError, named_fault, opened
from trainers.data.orientation import ORIENTATION

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it cannot read is said by name here

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
NUMPY = b"\x93NUMPY"
ARRAY = ".npy"
"""Ending of arrays."""
PARTS_OF_A_PAGE = 0b101
"""Kinds of TIFF pages that are no pages of their own: reduced copies and masks."""
OF_PILLOW = {2: "LA", 4: "RGBA"}


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
def stored_in(path: Path, item: Item) -> Iterator[tuple[Stored, Load]]:
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
            refuse_number(path, item, bands)
            raise MeaningError(f"{path}: {image.format} images of mode {image.mode} are not read as bands {at(item)}")
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
        f"{path}: an array of shape {found.shape}, and data.bands is {bands} {at(item)}; an image is (height, width, "
        f"{bands}) or ({bands}, height, width)"
    )


def _of_tiff(path: Path, item: Item, file: Any) -> tuple[Stored, Load]:
    pages = _whole_pages(file)
    first = pages[0]
    further = len(file.pages) > 1 or bool(first.subifds)
    refuse_reduced(path, item, subfile=int(first.subfiletype), further=further)
    axes = {"YXS": None, "SYX": (1, 2, 0)}
    if len(pages) > 1:
        alike = {(page.axes, page.shape, str(page.dtype)) for page in pages}
        if len(alike) > 1 or first.axes != "YX":
            raise MeaningError(
                f"{path}: {len(pages)} pages that are not the bands of one image {at(item)}; write a file for each"
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


def refuse_reduced(path: Path, item: Item, *, subfile: int, further: bool) -> None:
    """Raises MeaningError where a TIFF begins with a reduced copy of another picture in it, as raw files of cameras do.

    Args:
        subfile: kind of the first picture, by the tag NewSubfileType.
        further: there are other pictures.
    """
    if subfile & 1 and further:
        raise MeaningError(
            f"{path}: begins with a reduced copy of a picture that lies further within, as raw files of cameras do "
            f"{at(item)}; write the picture itself as a file, such as a PNG"
        )


def at(item: Item) -> str:
    """Which line of which list names it, for messages."""
    return f"(named in {item.where or item.name})"


def refuse_number(path: Path, item: Item, bands: int) -> None:
    """Raises MeaningError where an image has another number of bands than the config says."""
    if bands != item.decoding.bands:
        raise MeaningError(
            f"{path}: {bands} band{'s' * (bands != 1)}, and data.bands is {item.decoding.bands} {at(item)}; "
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
