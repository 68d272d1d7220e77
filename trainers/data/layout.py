"""What a data layout tells the readers, and the images it leads to. No torch here: configs import it."""

import functools
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from trainers.common.home import home
from trainers.data.labelmap import LabelMap

RGB_BANDS = 3
"""Of images that are read as RGB."""
Resolve = Callable[[tuple[str, ...]], tuple[str, str | None]]
"""Turns the columns of a split line into an image path and a mask path, relative to the root unless absolute. Raises
ValueError with the reason where a line cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How the files of a data set are read; every reader finds it in the items.

    Args:
        label_map: from what masks hold to class indices; None: they hold indices.
        exif: whether pixels are turned as an EXIF orientation says.
        value_range: values of images deeper than 8 bits that become 0 and 255; None: the range of their kind.
        bands: of the images; 3: they are read as RGB.
        shown: the three bands that pictures of them show as red, green and blue, counted from 0; None: the first ones.
    """

    label_map: LabelMap | None = None
    exif: Literal["apply", "ignore"] = "apply"
    value_range: tuple[float, float] | None = None
    bands: int = RGB_BANDS
    shown: tuple[int, int, int] | None = None

    @functools.cached_property
    def digest(self) -> str:
        """Tells ways of reading apart in caches."""
        how = (self.label_map, self.exif, self.value_range, *((self.bands,) if self.bands != RGB_BANDS else ()))
        return hashlib.sha256(repr(how).encode()).hexdigest()[:16]

    @property
    def shown_bands(self) -> list[int]:
        """As `shown`; of fewer bands than three the last one stands for those that are not there."""
        return list(self.shown or (min(place, self.bands - 1) for place in range(3)))


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image, its mask where there is one, and where that was said.

    Args:
        image: image file.
        mask: index mask of the same size, or None.
        root: folder relative to which the image is named in hashes and messages.
        where: `file:line` of the split that names it.
        label_ids: mask values are Cityscapes label ids, still to be mapped to train ids.
        decoding: how both files are read.
    """

    image: Path
    mask: Path | None = None
    root: Path | None = None
    where: str = ""
    label_ids: bool = False
    decoding: Decoding = Decoding()

    @property
    def name(self) -> str:
        """The image's path below the root; never an absolute path."""
        return self._below_root(self.image)

    @property
    def mask_name(self) -> str | None:
        """The mask's path below the root."""
        return None if self.mask is None else self._below_root(self.mask)

    def _below_root(self, path: Path) -> str:
        if self.root is not None and path.is_relative_to(self.root):
            return path.relative_to(self.root).as_posix()
        return "/".join(path.parts[-2:])


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a data set lies and how its split lines are read.

    Args:
        root: folder to which paths are relative.
        classes: class names, by index.
        resolve: reads one split line.
        label_ids_suffix: end of the file names of masks that hold Cityscapes label ids.
        lists: the data set's own split files by config key (`labelled`, `val`, ...), used where the config names none.
        version: tells images of the same names apart; a part of the split's hash.
        decoding: how the files are read.
    """

    root: Path
    classes: tuple[str, ...]
    resolve: Resolve
    label_ids_suffix: str | None = None
    lists: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    decoding: Decoding = Decoding()


def listed(names: str) -> tuple[str, ...]:
    """Names of classes from a text in which they stand with commas between."""
    return tuple(names.split(", "))


def plain_columns(columns: tuple[str, ...]) -> tuple[str, str | None]:
    """Image path, then mask path if there is one."""
    return columns[0], columns[1] if len(columns) > 1 else None


def cache_folder() -> Path:
    """The user's cache folder for this program (`$XDG_CACHE_HOME` or `~/.cache`, then `ipix-tune`)."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else home() / ".cache") / "ipix-tune"
