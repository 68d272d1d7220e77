"""`check_data`: opens what a run will open, before it runs."""

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from trainers.common.errors import DataError
from trainers.data import DataConfig
from trainers.data.layout import Item
from trainers.data.maskcheck import check_masks
from trainers.data.maskfiles import MaskFiles
from trainers.data.open import OpenData
from trainers.data.opening import CorruptError
from trainers.data.pixels import read_header
from trainers.data.read import check_sizes, read_image, read_mask
from trainers.interface.labels import IGNORE


@dataclass(kw_only=True)
class Masks:
    """What the masks of one list hold.

    Args:
        images_with_class: in how many images each class occurs, by class index.
        count: masks in all.
        with_ignored: masks in which a pixel is ignored (255).
        all_ignored: masks in which every pixel is.
        pixels, ignored: pixels in all, and ignored ones.
    """

    images_with_class: tuple[int, ...]
    count: int = 0
    with_ignored: int = 0
    all_ignored: int = 0
    pixels: int = 0
    ignored: int = 0

    def add(self, mask: NDArray[np.uint8]) -> None:
        """Count a mask (H, W) uint8."""
        counts = np.bincount(mask.ravel(), minlength=IGNORE + 1)
        shown = counts[: len(self.images_with_class)] > 0
        self.images_with_class = tuple(int(n) for n in np.add(self.images_with_class, shown))
        self.count += 1
        self.pixels += mask.size
        self.ignored += int(counts[IGNORE])
        self.with_ignored += int(counts[IGNORE] > 0)
        self.all_ignored += int(counts[IGNORE] == mask.size)


@dataclass(kw_only=True)
class SeenImages:
    """What the images of all lists are.

    Args:
        kinds: images by mode and depth.
        sizes: every (height, width).
        turned: images that their EXIF orientation turns.
        brightest: largest value of the labelled images, 0 .. 255; None: none was decoded.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    turned: int = 0
    brightest: int | None = None


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """What the lists hold.

    Args:
        images: images by list (`labelled`, `unlabelled`, `holdout`, `val`).
        masks: of every list whose masks are read.
        absent: per list, the names of the classes that occur in none of its images.
        corrupt: messages about images that `on_corrupt: skip` will replace.
        seen: sizes and kinds of the images.
        odd_masks: warnings about mask files.
    """

    images: dict[str, int]
    masks: dict[str, Masks]
    absent: dict[str, tuple[str, ...]]
    corrupt: tuple[str, ...]
    split_hash: str
    seen: SeenImages
    odd_masks: tuple[str, ...] = ()

    @property
    def images_with_class(self) -> dict[str, tuple[int, ...]]:
        """Per list, in how many images each class occurs, by class index."""
        return {name: masks.images_with_class for name, masks in self.masks.items()}


def check_data(data: OpenData, config: DataConfig) -> DataSummary:
    """Decode every labelled and held-out image, and every mask that is read; open the header of every other file, and
    decode it where only its pixels tell whether it can be read.

    With `draw` that holds for the masks of all images that another seed may draw, too; each is decoded once, until it
    changes.

    Raises:
        DataError: names the file and the split line: an image that cannot be decoded (unless `on_corrupt` allows it in
            training), one whose pixels have no known meaning, a mask of another size than its image, a class index
            out of range; or a list in which every pixel is ignored.
    """
    corrupt: list[str] = []
    forgiven = corrupt if config.on_corrupt == "skip" else None
    seen, files = SeenImages(), MaskFiles(data.num_classes)
    masks = {
        "labelled": _check_list(data.labelled, data, seen, files, forgiven, decode=True),
        "holdout": _check_list(data.holdout, data, seen, files, None, decode=True),
    }
    if data.val:
        masks["val"] = _check_list(data.val, data, seen, files, None, decode=False)
    for item in data.unlabelled:
        _forgiving(functools.partial(_open_image, item, seen, decode=False), forgiven)
    for name, found in masks.items():
        if found.count and found.ignored == found.pixels:
            raise DataError(_nothing_left(name, found.count))
    if config.draw is not None:
        check_masks(data.unlabelled, num_classes=data.num_classes, skip_corrupt=config.on_corrupt == "skip")
    return DataSummary(
        images={name: len(getattr(data, name)) for name in ("labelled", "unlabelled", "holdout", "val")},
        masks=masks,
        absent={
            name: tuple(kind for kind, images in zip(data.classes, found.images_with_class, strict=True) if images == 0)
            for name, found in masks.items()
        },
        corrupt=tuple(corrupt),
        split_hash=data.split_hash,
        seen=seen,
        odd_masks=tuple(files.warnings),
    )


def _nothing_left(name: str, count: int) -> str:
    use = "learn from" if name == "labelled" else "score"
    return (
        f"data.{name}: every pixel of its {count} masks is 255 = ignore, there is nothing to {use}; mend the masks, or "
        "say in data.label_map what their values mean"
    )


def _check_list(
    items: Sequence[Item],
    data: OpenData,
    seen: SeenImages,
    files: MaskFiles,
    forgiven: list[str] | None,
    *,
    decode: bool,
) -> Masks:
    masks = Masks(images_with_class=(0,) * data.num_classes)

    def check(item: Item) -> None:
        size = _open_image(item, seen, decode=decode)
        mask = read_mask(item, num_classes=data.num_classes)
        check_sizes(item, size, mask.shape)
        masks.add(mask.numpy())
        files.add(item, mask.numpy())

    for item in items:
        _forgiving(functools.partial(check, item), forgiven)
    return masks


def _forgiving(check: Callable[[], object], forgiven: list[str] | None) -> None:
    try:
        check()
    except CorruptError as error:
        if forgiven is None:
            raise
        forgiven.append(str(error))


def _open_image(item: Item, seen: SeenImages, *, decode: bool) -> tuple[int, int]:
    """Size of an image, counted; its brightest value too where it is decoded because of its list."""
    header = read_header(item.image, item)
    if decode or header.by_pixels:
        image = read_image(item)
        if decode:
            brightest = int(image.numpy().max()) // (1 if image.dtype == torch.uint8 else 257)
            seen.brightest = max(seen.brightest or 0, brightest)
    seen.kinds[header.kind] += 1
    seen.sizes.add(header.size)
    seen.turned += header.turned != 1
    return header.size
