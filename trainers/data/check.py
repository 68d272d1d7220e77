"""`check_data`: opens what a run will open, before it runs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainers.data import DataConfig
from trainers.data.layout import Item
from trainers.data.open import OpenData
from trainers.data.read import CorruptError, check_sizes, image_size, read_image, read_mask


@dataclass(frozen=True, kw_only=True)
class DataSummary:
    """What the lists hold.

    Args:
        images: images by list (`labelled`, `unlabelled`, `holdout`, `val`).
        images_with_class: for labelled and holdout, in how many images each class occurs, by class index.
        absent: per list, the names of the classes that occur in none of its images.
        corrupt: messages about images that `on_corrupt: skip` will replace.
    """

    images: dict[str, int]
    images_with_class: dict[str, tuple[int, ...]]
    absent: dict[str, tuple[str, ...]]
    corrupt: tuple[str, ...]
    split_hash: str


def check_data(data: OpenData, config: DataConfig) -> DataSummary:
    """Decode every labelled and held-out image and mask; open the header of every other file.

    Raises DataError, naming the file and the split line: an image that cannot be decoded (unless `on_corrupt` allows
    it in training), a mask of another size than its image, a class index out of range.
    """
    corrupt: list[str] = []
    counts = {
        "labelled": _decode(data.labelled, data, corrupt if config.on_corrupt == "skip" else None),
        "holdout": _decode(data.holdout, data, None),
    }
    _open_headers(data.unlabelled, corrupt if config.on_corrupt == "skip" else None, with_mask=False)
    _open_headers(data.val, None, with_mask=True)
    return DataSummary(
        images={name: len(getattr(data, name)) for name in ("labelled", "unlabelled", "holdout", "val")},
        images_with_class=counts,
        absent={
            name: tuple(kind for kind, images in zip(data.classes, count, strict=True) if images == 0)
            for name, count in counts.items()
        },
        corrupt=tuple(corrupt),
        split_hash=data.split_hash,
    )


def _decode(items: Sequence[Item], data: OpenData, corrupt: list[str] | None) -> tuple[int, ...]:
    images_with_class = np.zeros(data.num_classes, dtype=np.int64)
    for item in items:
        try:
            image, mask = read_image(item), read_mask(item, num_classes=data.num_classes)
        except CorruptError as error:
            if corrupt is None:
                raise
            corrupt.append(str(error))
            continue
        check_sizes(item, image.shape[1:], mask.shape)
        images_with_class += np.bincount(mask.numpy().ravel(), minlength=256)[: data.num_classes] > 0
    return tuple(int(count) for count in images_with_class)


def _open_headers(items: Sequence[Item], corrupt: list[str] | None, *, with_mask: bool) -> None:
    for item in items:
        try:
            size = image_size(item.image, item)
            if with_mask and item.mask is not None:
                check_sizes(item, size, image_size(item.mask, item))
        except CorruptError as error:
            if corrupt is None:
                raise
            corrupt.append(str(error))
