"""From files to uint8 tensors, and a bounded memory of what was read."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from trainers.data.cityscapes import LABEL_IDS, LARGEST_LABEL_ID
from trainers.data.decoded import store_of
from trainers.data.layout import Item
from trainers.errors import DataError

IGNORE = 255
CACHE_BYTES = 256 * 2**20
"""Decoded images that one process keeps, at most."""
WORTH_BYTES = 2**16
"""Smaller images are decoded faster than they are stored."""


class CorruptError(DataError):
    """A file cannot be decoded; the only error that `on_corrupt: skip` forgives."""


def read_image(item: Item) -> Tensor:
    """The image as RGB, (3, H, W) uint8. Raises CorruptError, by name, where it cannot be decoded."""
    return torch.from_numpy(np.ascontiguousarray(_decode(item.image, "RGB", item).transpose(2, 0, 1)))


def read_mask(item: Item, *, num_classes: int | None = None) -> Tensor:
    """The mask's class indices, (H, W) uint8, 255 = ignore; Cityscapes label ids come mapped to train ids.

    Raises CorruptError where it cannot be decoded, DataError where it is no index mask or, given `num_classes`, where
    an index is neither below it nor 255.
    """
    return torch.from_numpy(mask_array(item, num_classes=num_classes))


def mask_array(item: Item, *, num_classes: int | None = None) -> NDArray[np.uint8]:
    """What `read_mask` gives, as an array."""
    if item.mask is None:
        raise DataError(f"{item.where or item.image}: no mask lies beside {item.name}")
    mask = _decode(item.mask, None, item)
    if mask.ndim != 2 or mask.dtype != np.uint8:
        if mask.dtype == bool:
            mask = mask.astype(np.uint8)
        else:
            raise DataError(
                f"{item.mask}: a mask holds one class index of 8 bits per pixel, this file is {mask.dtype} "
                f"{mask.shape}; convert colours to indices (named in {item.where or item.name})"
            )
    if item.label_ids:
        mask = _TRAIN_IDS[mask]
    if num_classes is not None:
        found = np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[:IGNORE])
        if len(found) and found[-1] >= num_classes:
            raise DataError(
                f"{item.mask}: class index {found[-1]}, allowed are 0 .. {num_classes - 1} and 255 = ignore "
                f"(named in {item.where or item.name}); mend the mask or the class count"
            )
    return mask


def image_size(path: Path, item: Item) -> tuple[int, int]:
    """(height, width) from the file's header. Raises CorruptError where it is no image."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, ValueError, SyntaxError) as error:
        raise _corrupt(path, item, error) from error


def check_sizes(item: Item, image: tuple[int, ...], mask: tuple[int, ...]) -> None:
    """DataError where image and mask differ in size, given as (height, width)."""
    if tuple(image) != tuple(mask):
        raise DataError(
            f"{item.mask}: the mask is {mask[1]} x {mask[0]} pixels, its image {item.image} {image[1]} x {image[0]} "
            f"(named in {item.where or item.name}); they must be equal"
        )


class Reader:
    """Reads items and keeps decoded ones in memory until `cache_bytes` are full; nothing is evicted, since an epoch
    passes over everything and would evict each image before its next use. What finds no room there is kept in a
    store that other processes share.

    Args:
        num_classes: masks are checked against it.
        cache_bytes: largest size of what this process keeps.
        store_bytes: largest size of the store of a data folder; 0: none.
    """

    def __init__(self, num_classes: int, *, cache_bytes: int = CACHE_BYTES, store_bytes: int = 0) -> None:
        self._num_classes = num_classes
        self._free = cache_bytes
        self._store_bytes = store_bytes
        self._kept: dict[tuple[Path, bool], tuple[Tensor, Tensor | None]] = {}

    def __call__(self, item: Item, *, with_mask: bool) -> tuple[Tensor, Tensor | None]:
        """(image (3, H, W) uint8, mask (H, W) uint8 or None). Not to be written to."""
        key = (item.image, with_mask)
        if key not in self._kept:
            image, mask = self._image(item), self._mask(item) if with_mask else None
            if mask is not None:
                check_sizes(item, image.shape[1:], mask.shape)
            size = image.numel() + (0 if mask is None else mask.numel())
            if size > self._free:
                return image, mask
            self._free -= size
            self._kept[key] = image, mask
        return self._kept[key]

    def _image(self, item: Item) -> Tensor:
        return self._shared(item, item.image, "rgb", lambda: read_image(item))

    def _mask(self, item: Item) -> Tensor:
        kind = f"mask of {self._num_classes} classes{', label ids' if item.label_ids else ''}"
        return self._shared(item, item.mask, kind, lambda: read_mask(item, num_classes=self._num_classes))

    def _shared(self, item: Item, source: Path | None, kind: str, decode: Callable[[], Tensor]) -> Tensor:
        """From the store; decoded, and put there, where it has none."""
        store = store_of(item.root or item.image.parent, limit=self._store_bytes)
        if store is None or source is None:
            return decode()
        kept = store.get(source, kind=kind)
        if kept is not None:
            return torch.from_numpy(kept)
        decoded = decode()
        if decoded.numel() >= WORTH_BYTES:
            store.put(source, decoded.numpy(), kind=kind)
        return decoded


def mask_to_png(mask: Tensor) -> bytes:
    """A mask (H, W) uint8 as a PNG file, without loss."""
    file = io.BytesIO()
    Image.fromarray(mask.cpu().numpy()).save(file, format="png")
    return file.getvalue()


def mask_from_png(png: bytes) -> Tensor:
    """The mask (H, W) uint8 that `mask_to_png` was given."""
    with Image.open(io.BytesIO(png)) as image:
        return torch.from_numpy(np.array(image))


def _decode(path: Path, mode: str | None, item: Item) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return np.array(image if mode is None else image.convert(mode))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file (named in {item.where or item.name})") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise _corrupt(path, item, error) from error


def _corrupt(path: Path, item: Item, error: Exception) -> CorruptError:
    return CorruptError(
        f"{path}: cannot be decoded, {error} (named in {item.where or item.name}); replace the file, take its line "
        "out, or set data.on_corrupt: skip"
    )


def _train_ids() -> NDArray[np.uint8]:
    """Label id -> train id; ids above the largest stay as they are, so that the range check finds them."""
    table = np.arange(256, dtype=np.uint8)
    table[: LARGEST_LABEL_ID + 1] = IGNORE
    table[list(LABEL_IDS)] = range(len(LABEL_IDS))
    return table


_TRAIN_IDS = _train_ids()
