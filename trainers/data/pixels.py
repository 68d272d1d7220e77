"""What the pixels of an image file mean: any mode and depth that Pillow reads, as RGB of 8 bits, or refused by name.

============================  ===============================================================================
1, L, P, RGB, CMYK, YCbCr     as Pillow converts them; RGB of 16 bits by its upper 8, which is all Pillow gives
grey of 12 or 16 bits         by its upper 8 bits
grey of 32 bits, signed       only with `data.value_range`, since no range goes without saying
float                         0 .. 1, or `data.value_range`
transparency, alpha           where all is opaque; else refused
more than three bands         refused, also where Pillow would drop some; likewise two, and several pages. With
                              `data.bands` they are read by `trainers.data.bands`
============================  ===============================================================================
"""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PpmImagePlugin, TiffImagePlugin, UnidentifiedImageError

from trainers.data.band_files import bands_remedy, refuse_reduced
from trainers.data.bands import bands_array, bands_header
from trainers.data.fileend import may_be_cut_off
from trainers.data.header import Header
from trainers.data.layout import RGB_BANDS, Item
from trainers.data.opening import CorruptError, MeaningError, opened
from trainers.data.orientation import ORIENTATION, load_turned, orientation_of, turned
from trainers.data.tifftags import first, tiff_tag

BITS, PHOTOMETRIC, SAMPLES, SAMPLE_FORMAT, SUBFILE, SUBDIRECTORIES = 258, 262, 277, 339, 254, 330
"""Tags of TIFF."""
WHITE_IS_ZERO, SIGNED = 0, 2
COLOUR_SAMPLES = {0: 1, 1: 1, 2: 3, 3: 1, 4: 1, 5: 4, 6: 3, 8: 3}
"""Samples that a photometric interpretation has, without further bands."""
PLAIN = ("1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "RGBX")
WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
FULL_SIXTEEN = {("PNG", "I;16"), ("PNG", "I"), ("PPM", "I"), ("PPM", "I;16"), ("JPEG2000", "I;16"), ("TIFF", "I;16")}
"""Formats and modes of grey whose range is that of 16 unsigned bits, or of their own number of bits."""
FLOAT_SLACK = 1e-6


def read_header(path: Path, item: Item) -> Header:
    """Raises CorruptError where it is no image, MeaningError where it is one that is not read."""
    if item.decoding.bands != RGB_BANDS:
        return bands_header(path, item)
    with _understood(path, item) as image:
        _refuse_unread(path, image, item)
        orientation = orientation_of(image)
        turned = 1 if item.decoding.exif == "ignore" else orientation
        height, width = image.height, image.width
        swapped = tiff_tag(image, ORIENTATION, 1) >= 5  # Pillow gives a TIFF's size as turned by this tag
        if swapped != (turned >= 5):
            height, width = width, height
        by_pixels = image.mode == "F" or _has_alpha(image) or may_be_cut_off(path, image)
        return Header(size=(height, width), kind=_kind(image), turned=turned, by_pixels=by_pixels)


def image_array(path: Path, item: Item) -> NDArray[Any]:
    """The image (H, W, 3) uint8, or with as many bands as `data.bands` says (H, W, bands) uint16, as viewers turn it
    unless `data.exif: ignore`.

    Raises:
        CorruptError: it cannot be opened or decoded.
        MeaningError: what its pixels mean is not known, or not supported.
    """
    if item.decoding.bands != RGB_BANDS:
        return bands_array(path, item)
    with _understood(path, item) as image:
        _refuse_unread(path, image, item)
        turn = load_turned(image, item)
        return turned(_rgb(path, image, item), turn)


def index_array(path: Path, item: Item, *, colours: bool) -> NDArray[Any]:
    """What a mask's file holds: values (H, W), or with ``colours`` (H, W, 3) uint8. Turned as an image is. Raises as
    :func:`image_array`; of colours also where the file is grey of more than 8 bits."""
    with _understood(path, item) as image:
        _refuse_pages(path, image, item)
        _refuse_bands(path, image, item)
        if colours and image.mode.startswith(("I", "F")):
            raise MeaningError(
                f"{path}: {_kind(image)} has no colours, as data.label_map names them {_at(item)}; write the masks "
                "with 8 bits, or name their values"
            )
        highest, turn = highest_shade(image), load_turned(image, item)
        if colours:
            return turned(_colours(path, image, item), turn)
        if tiff_tag(image, PHOTOMETRIC, 1) == WHITE_IS_ZERO and image.mode == "L":
            raise MeaningError(
                f"{path}: white is zero in this TIFF, so that its values are no class indices {_at(item)}"
            )
        values = np.array(image)
        if image.mode == "1":
            values = values.astype(np.uint8)
        if highest < 255:
            values = np.rint(values * (highest / 255)).astype(np.uint8)
        return turned(values, turn)


@contextlib.contextmanager
def _understood(path: Path, item: Item) -> Iterator[Image.Image]:
    """Open an image as `opened` does, but name bands and bits of a TIFF whose kind Pillow cannot read."""
    try:
        with opened(path, item) as image:
            yield image
    except CorruptError as error:
        bands = _unread_tiff(path) if isinstance(error.__cause__, UnidentifiedImageError) else None
        if bands is None:
            raise
        count, words = bands
        raise MeaningError(
            f"{path}: a TIFF of {words} is not read {_at(item)}; {_remedy(path, item, count)}"
        ) from error


_BANDS_REMEDY = "write images of one or three bands of 8 or 16 bits"


def _remedy(path: Path, item: Item, bands: int) -> str:
    """Images may have further bands; masks may not."""
    return _BANDS_REMEDY if path == item.mask or bands in (1, 3) else f"{_BANDS_REMEDY}; or {bands_remedy(bands)}"


def _unread_tiff(path: Path) -> tuple[int, str] | None:
    """Bands of a TIFF whose header is whole, and its bands and bits in words; None where it is none."""
    with contextlib.suppress(Exception), path.open("rb") as file:
        start = file.read(8)
        start += file.read(8) if start[2:4] in (b"\x2b\0", b"\0\x2b") else b""  # BigTIFF
        directory = TiffImagePlugin.ImageFileDirectory_v2(start)
        file.seek(directory.next)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of a directory that was cut off
            directory.load(file)
        bits = directory.get(BITS, (1,))
        bits = bits if isinstance(bits, tuple) else (bits,)
        sort = {1: "unsigned", 2: "signed", 3: "float"}.get(first(directory.get(SAMPLE_FORMAT, 1)), "unknown")
        count = int(first(directory.get(SAMPLES, 1)))
        return count, f"{count} bands of {bits[0]} bits ({sort})"
    return None


def _at(item: Item) -> str:
    return f"(named in {item.where or item.name})"


def _refuse_unread(path: Path, image: Image.Image, item: Item) -> None:
    """Where the header tells that the pixels are not read."""
    _refuse_pages(path, image, item)
    _refuse_bands(path, image, item)
    grey_of_known_range = (image.format, image.mode) in FULL_SIXTEEN
    white_is_zero = tiff_tag(image, PHOTOMETRIC, 1) == WHITE_IS_ZERO and image.mode in ("I;16", "I", "F")
    signed_bytes = image.mode == "L" and tiff_tag(image, SAMPLE_FORMAT, 1) == SIGNED
    deep = image.mode.startswith(("I", "F"))
    if white_is_zero or signed_bytes or not (deep or image.mode in (*PLAIN, *WITH_ALPHA)):
        sort = " where white is zero" if white_is_zero else " of signed values" if signed_bytes else ""
        raise MeaningError(
            f"{path}: {image.format} images of mode {image.mode}{sort} are not read {_at(item)}; {_BANDS_REMEDY}"
        )
    if deep and image.mode != "F" and not grey_of_known_range and item.decoding.value_range is None:
        raise MeaningError(
            f"{path}: {_kind(image)} has no range that goes without saying {_at(item)}; set data.value_range: "
            "[darkest, brightest]"
        )
    if not deep and item.decoding.value_range not in (None, (0, 65535)) and ";16" in _raw_mode(image):
        raise MeaningError(
            f"{path}: {_kind(image)} is read by its upper 8 bits, which data.value_range does not reach {_at(item)}; "
            "write such images with 8 bits, or leave data.value_range out"
        )


def _refuse_pages(path: Path, image: Image.Image, item: Item) -> None:
    """Animations and stacks, of which Pillow gives the first page. Reduced copies of a page, masks of one, previews of
    a photograph and layers of a drawing are no pages."""
    if image.format in ("MPO", "PSD"):
        return
    refuse_reduced(path, item, subfile=tiff_tag(image, SUBFILE, 0), further=_has_further_pictures(image))
    if not getattr(image, "is_animated", False):
        return
    pages = int(getattr(image, "n_frames", 1))
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        whole = 0
        for page in range(pages):
            image.seek(page)
            whole += not tiff_tag(image, SUBFILE, 0) & 0b101
        image.seek(0)
        pages = whole
    if pages > 1:
        raise MeaningError(f"{path}: {pages} pages, of which one would be read {_at(item)}; write a file for each page")


def _has_further_pictures(image: Image.Image) -> bool:
    """Whether a TIFF has pictures besides its first one, as pages or below it. Of a BigTIFF Pillow does not read where
    those below it lie, so that it is taken to have some."""
    if bool(getattr(image, "is_animated", False)) or tiff_tag(image, SUBDIRECTORIES, 0) > 0:
        return True
    return isinstance(image, TiffImagePlugin.TiffImageFile) and bool(image.tag_v2._bigtiff)


def _refuse_bands(path: Path, image: Image.Image, item: Item) -> None:
    """Bands of a TIFF that Pillow drops; a single alpha is seen to with the pixels."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    samples = tiff_tag(image, SAMPLES, 1)
    further = samples - COLOUR_SAMPLES.get(tiff_tag(image, PHOTOMETRIC, 1), samples)
    if further > (1 if image.mode in WITH_ALPHA else 0):
        raise MeaningError(
            f"{path}: {samples} bands {_at(item)}, of which only {samples - further} would be read; "
            f"{_remedy(path, item, samples)}"
        )


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in WITH_ALPHA or "transparency" in image.info


def _rgb(path: Path, image: Image.Image, item: Item) -> NDArray[np.uint8]:
    """RGB pixels of a loaded image, before its orientation is applied."""
    if image.mode.startswith(("I", "F")):
        grey = _grey(path, image, item)
        return np.broadcast_to(grey[..., None], (*grey.shape, 3))
    return _colours(path, image, item)


def _colours(path: Path, image: Image.Image, item: Item) -> NDArray[np.uint8]:
    if not _has_alpha(image):
        return np.array(image if image.mode == "RGB" else image.convert("RGB"))
    pixels = np.array(image.convert("RGBA"))
    if (clear := (pixels[..., 3] < 255).mean()) > 0:
        fourth = "" if path == item.mask or image.mode != "RGBA" else f", or {bands_remedy(4)}"
        raise MeaningError(
            f"{path}: its band of transparency (or fourth band) is not opaque in {100 * clear:.1f} % of the pixels "
            f"{_at(item)}, and what lies there is not known; write the image with three bands{fourth}"
        )
    return pixels[..., :3]


def _grey(path: Path, image: Image.Image, item: Item) -> NDArray[np.uint8]:
    """Grey of more than 8 bits as (H, W) uint8."""
    values, asked = np.array(image), item.decoding.value_range
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise MeaningError(f"{path}: holds values that are NaN or infinite {_at(item)}; write a number in their place")
    if asked is None and values.dtype.kind != "f":
        bits = tiff_tag(image, BITS, 16)
        return (values.astype(np.int64) >> (bits - 8)).clip(0, 255).astype(np.uint8)
    low, high = asked or (0.0, 1.0)
    if asked is None and (values.min() < low - FLOAT_SLACK or values.max() > high + FLOAT_SLACK):
        raise MeaningError(
            f"{path}: float values of {values.min():.4g} .. {values.max():.4g}, read without data.value_range are "
            f"0 .. 1 {_at(item)}; set data.value_range: [darkest, brightest]"
        )
    return np.rint((values.astype(np.float64) - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)


def highest_shade(image: Image.Image) -> int:
    """The highest grey that the file can store. Pillow spreads grey of 2 and 4 bits over 0 .. 255, and of a PGM whose
    header says less; of a mask the values are wanted as stored."""
    if image.mode != "L":
        return 255
    if isinstance(image, PpmImagePlugin.PpmImageFile) and isinstance(arguments := image.tile[0].args, tuple):
        return min(int(arguments[-1]), 255)
    return {"L;2": 3, "L;4": 15}.get(_raw_mode(image)[:3], 255)


def _raw_mode(image: Image.Image) -> str:
    """How the pixels are stored, in Pillow's words; unknown once they are loaded."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0].args if tiles else ""
    return str(arguments if isinstance(arguments, str) else first(arguments))


def _kind(image: Image.Image) -> str:
    """Mode and depth in words."""
    if image.mode == "F":
        return "float grey"
    if image.mode.startswith("I"):
        bits = (
            tiff_tag(image, BITS, 16) if image.mode == "I;16" or image.format != "TIFF" else tiff_tag(image, BITS, 32)
        )
        return f"{'signed ' if tiff_tag(image, SAMPLE_FORMAT, 1) == SIGNED else ''}{bits}-bit grey"
    return f"16-bit {image.mode}" if ";16" in _raw_mode(image) else image.mode
