"""What every file is: one pass over all images and masks, each decoded once, faults noted by name instead of raised."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from trainers.common.errors import DataError
from trainers.data.bands import bands_header, raw_bands
from trainers.data.layout import RGB_BANDS, Decoding, Item
from trainers.data.opening import opened
from trainers.data.pixels import image_array, index_array, read_header

MOST_VALUES = 256
"""Most values or colours of a mask: a file with more is taken for a picture."""
AT_ONCE = 8
LIST_REMEDY = ", take its line out, or set data.on_corrupt: skip"
"""How errors of damaged files end, where a list names them; here none does yet."""


@dataclass(frozen=True, kw_only=True)
class SeenImage:
    """An image that can be read.

    Args:
        size: (height, width) as viewers show it.
        kind: mode and depth in words.
        turned: EXIF orientation, 1 where there is none.
        values: the smallest and largest value of grey, or of several bands, deeper than 8 bits; None of all else.
        sums: of an image of other than three bands, of each band: the sum of its values and that of their squares.
    """

    size: tuple[int, int]
    kind: str
    turned: int
    values: tuple[float, float] | None = None
    sums: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class SeenMask:
    """A mask that can be read.

    Args:
        size: (height, width).
        kind: `values`, `palette`, or `colours`.
        pixels: how many pixels have each value, or each colour as 0xRRGGBB.
        colours: of a palette, the colour of every value that occurs.
        lossy: the format does not keep values.
    """

    size: tuple[int, int]
    kind: str
    pixels: dict[int, int]
    colours: dict[int, int] = field(default_factory=dict)
    lossy: bool = False


@dataclass(kw_only=True)
class Looked:
    """What all files are.

    Args:
        images, masks: by path, those that can be read.
        faults: why each of the others cannot, by path.
    """

    images: dict[Path, SeenImage]
    masks: dict[Path, SeenMask]
    faults: dict[Path, str]

    @property
    def kinds(self) -> Counter[str]:
        """Images by mode and depth."""
        return Counter(one.kind for one in self.images.values())


def look(
    images: Sequence[Path],
    masks: Sequence[Path],
    *,
    bands: int = RGB_BANDS,
    step: Callable[[], object] = lambda: None,
) -> Looked:
    """Open and decode every file.

    Args:
        bands: as `data.bands`.
        step: called after each file.
    """
    faults: dict[Path, str] = {}
    found: dict[str, dict[Path, SeenImage | SeenMask]] = {"images": {}, "masks": {}}
    see_image = _see_image if bands == RGB_BANDS else partial(_see_bands, bands)
    with ThreadPoolExecutor(min(AT_ONCE, os.cpu_count() or 1)) as pool:
        for part, paths, see in (("images", images, see_image), ("masks", masks, _see_mask)):
            for path, seen in _told(pool, paths, see):
                if isinstance(seen, str):
                    faults[path] = seen
                else:
                    found[part][path] = seen
                step()
    return Looked(
        images={path: one for path, one in found["images"].items() if isinstance(one, SeenImage)},
        masks={path: one for path, one in found["masks"].items() if isinstance(one, SeenMask)},
        faults=faults,
    )


def _told(
    pool: ThreadPoolExecutor, paths: Sequence[Path], see: Callable[[Path], SeenImage | SeenMask]
) -> Iterator[tuple[Path, SeenImage | SeenMask | str]]:
    def told(path: Path) -> SeenImage | SeenMask | str:
        try:
            return see(path)
        except DataError as error:
            reason = str(error).removeprefix(f"{path}: ").removesuffix(LIST_REMEDY)
            return reason.replace(f" (named in {path.parent.name}/{path.name})", "")

    return zip(paths, pool.map(told, paths), strict=True)


def _see_image(path: Path) -> SeenImage:
    plain = Item(image=path)
    values = None
    with opened(path, plain) as image:
        if image.mode.startswith(("I", "F")):
            pixels = np.array(image)
            if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
                raise DataError(f"{path}: holds values that are NaN or infinite")
            values = (float(pixels.min()), float(pixels.max()))
    item = Item(image=path, decoding=Decoding(value_range=None if values is None else (values[0], values[1] + 1)))
    header = read_header(path, item)
    image_array(path, item)
    return SeenImage(size=header.size, kind=header.kind, turned=header.turned, values=values)


def _see_bands(bands: int, path: Path) -> SeenImage:
    item = Item(image=path, decoding=Decoding(bands=bands))
    stored, pixels = raw_bands(path, item)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise DataError(f"{path}: holds values that are NaN or infinite")
    low, high = float(pixels.min()), float(pixels.max())
    deep = stored.dtype != np.uint8
    ranged = Item(image=path, decoding=Decoding(bands=bands, value_range=(low, high + 1) if deep else None))
    header, flat = bands_header(path, ranged), pixels.reshape(-1, bands).astype(np.float64)
    return SeenImage(
        size=header.size,
        kind=header.kind,
        turned=header.turned,
        values=(low, high) if deep else None,
        sums=tuple((float(band.sum()), float((band**2).sum())) for band in flat.T),
    )


def _see_mask(path: Path) -> SeenMask:
    item = Item(image=path, mask=path)
    with opened(path, item) as image:
        palette = image.getpalette("RGB") if image.mode == "P" else None
        lossy = image.format in ("JPEG", "MPO")
    found = index_array(path, item, colours=False)
    if found.dtype.kind == "f":
        raise DataError(f"{path}: a mask of float values; write class indices")
    if found.ndim == 3:
        rgb = index_array(path, item, colours=True).astype(np.uint32)
        found = rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]
        kind = "colours"
    else:
        kind = "values" if palette is None else "palette"
    values, counts = np.unique(found, return_counts=True)
    if len(values) > MOST_VALUES:
        raise DataError(f"{path}: holds {len(values)} values or colours, as a picture does and no mask")
    pixels = {int(value): int(count) for value, count in zip(values, counts, strict=True)}
    if min(pixels) < 0 or (kind == "values" and max(pixels) > 2**16 - 1):
        raise DataError(f"{path}: holds the value {min(pixels) if min(pixels) < 0 else max(pixels)}, no class index")
    height, width = found.shape
    return SeenMask(size=(height, width), kind=kind, pixels=pixels, colours=_colours(palette, pixels), lossy=lossy)


def _colours(palette: list[int] | None, pixels: dict[int, int]) -> dict[int, int]:
    if palette is None:
        return {}
    return {
        value: palette[3 * value] << 16 | palette[3 * value + 1] << 8 | palette[3 * value + 2]
        for value in pixels
        if 3 * value + 2 < len(palette)
    }
