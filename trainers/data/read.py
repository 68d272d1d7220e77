"""From files to uint8 tensors, and a bounded memory of what was read."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from trainers.common.errors import DataError
from trainers.data.cityscapes import LABEL_IDS, LARGEST_LABEL_ID
from trainers.data.decoded import store_of
from trainers.data.facts import state_of
from trainers.data.filestate import settled_state
from trainers.data.labelmap import LabelMap
from trainers.data.layout import RGB_BANDS, Item
from trainers.data.pixels import image_array, index_array, read_header
from trainers.interface.labels import IGNORE

CACHE_BYTES = 256 * 2**20
"""Decoded images that one process keeps, at most."""
WORTH_BYTES = 2**16
"""Smaller images are decoded faster than they are stored."""


def read_image(item: Item) -> Tensor:
    """The image: RGB (3, H, W) uint8, or the bands of `data.bands` (bands, H, W) uint16. Raises DataError, by name:
    CorruptError where it cannot be opened or decoded, MeaningError where what its pixels mean is not known."""
    return torch.from_numpy(np.ascontiguousarray(image_array(item.image, item).transpose(2, 0, 1)))


def read_mask(item: Item, *, num_classes: int | None = None) -> Tensor:
    """The mask's class indices, (H, W) uint8, 255 = ignore, after the item's label map.

    Raises CorruptError where it cannot be opened or decoded, DataError where it is no index mask, where its label map
    does not name a value, or, given `num_classes`, where an index is neither below it nor 255.
    """
    return torch.from_numpy(mask_array(item, num_classes=num_classes))


def mask_array(item: Item, *, num_classes: int | None = None) -> NDArray[np.uint8]:
    """What `read_mask` gives, as an array."""
    if item.mask is None:
        raise DataError(f"{item.where or item.image}: no mask lies beside {item.name}")
    label_map = item.decoding.label_map or (CITYSCAPES_IDS if item.label_ids else None)
    colours = label_map is not None and label_map.of_colours
    found = index_array(item.mask, item, colours=colours)
    if not colours and (
        found.ndim != 2 or (found.dtype.kind not in "ui") or (label_map is None and found.itemsize > 1)
    ):
        remedy = "say what its values or colours mean in data.label_map"
        raise DataError(
            f"{item.mask}: a mask holds one class index of 8 bits per pixel, this file is {found.dtype} {found.shape} "
            f"(named in {item.where or item.name}); {'write it so' if found.dtype.kind == 'f' else remedy}"
        )
    lossy = "; JPEG changes values, store masks as PNG" if item.mask.suffix.lower() in (".jpg", ".jpeg") else ""
    try:
        mask = found.astype(np.uint8) if label_map is None else label_map(found)
    except ValueError as error:
        raise DataError(f"{item.mask}: {error} (named in {item.where or item.name}){lossy}") from error
    if num_classes is not None:
        shown = np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[:IGNORE])
        if len(shown) and shown[-1] >= num_classes:
            raise DataError(
                f"{item.mask}: class index {shown[-1]}, allowed are 0 .. {num_classes - 1} and 255 = ignore "
                f"(named in {item.where or item.name}); mend the mask or the class count, or say in data.label_map "
                f"what its values mean ({_listed(np.unique(found))}){lossy}"
            )
    return np.ascontiguousarray(mask)


def _listed(values: NDArray[Any], *, most: int = 8) -> str:
    shown = ", ".join(map(str, values[:most].tolist()))
    return shown + (f", ... {values[-1]}" if len(values) > most else "")


def check_sizes(item: Item, image: tuple[int, ...], mask: tuple[int, ...]) -> None:
    """DataError where image and mask differ in size, given as (height, width)."""
    if tuple(image) != tuple(mask):
        turned = read_header(item.image, item).turned
        by_exif = (
            f". The image is turned by its EXIF orientation ({turned}) and the mask is not: where masks were drawn on "
            "the pixels as stored, set data.exif: ignore"
        )
        raise DataError(
            f"{item.mask}: the mask is {mask[1]} x {mask[0]} pixels, its image {item.image} {image[1]} x {image[0]} "
            f"(named in {item.where or item.name}); they must be equal{by_exif if turned != 1 else ''}"
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
        self._kept: dict[tuple[Path, Path | None, bool, str], tuple[Tensor, Tensor | None]] = {}

    def __call__(self, item: Item, *, with_mask: bool) -> tuple[Tensor, Tensor | None]:
        """(image as :func:`read_image` gives it, mask (H, W) uint8 or None). Not to be written to."""
        key = (item.image, item.mask if with_mask else None, item.label_ids, item.decoding.digest)
        if key not in self._kept:
            image, mask = self._image(item), self._mask(item) if with_mask else None
            if mask is not None:
                check_sizes(item, image.shape[1:], mask.shape)
            size = image.nbytes + (0 if mask is None else mask.nbytes)
            if size > self._free:
                return image, mask
            self._free -= size
            self._kept[key] = image, mask
        return self._kept[key]

    def _image(self, item: Item) -> Tensor:
        bands = "rgb" if item.decoding.bands == RGB_BANDS else f"{item.decoding.bands} bands"
        how = f"{bands}, {item.decoding.exif}, {item.decoding.value_range}"
        if item.decoding.bands == RGB_BANDS:
            return self._shared(item, item.image, how, lambda: read_image(item))
        as_bytes = self._shared(item, item.image, how, lambda: read_image(item).view(torch.uint8))
        return as_bytes.view(torch.uint16)

    def _mask(self, item: Item) -> Tensor:
        kind = f"mask of {self._num_classes} classes{', label ids' if item.label_ids else ''}, {item.decoding.digest}"
        return self._shared(item, item.mask, kind, lambda: read_mask(item, num_classes=self._num_classes))

    def _shared(self, item: Item, source: Path | None, kind: str, decode: Callable[[], Tensor]) -> Tensor:
        """From the store; decoded, and put there, where it has none."""
        store = store_of(item.root or item.image.parent, limit=self._store_bytes)
        if store is None or source is None:
            return decode()
        kept = store.get(source, kind=kind)
        if kept is not None:
            return torch.from_numpy(kept)
        state = settled_state(source)
        decoded = decode()
        if decoded.numel() >= WORTH_BYTES and state == state_of(source):
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


def planes_to_png(planes: Tensor) -> bytes:
    """Several masks (P, H, W) uint8 of one image as one PNG file, below one another."""
    return mask_to_png(planes.flatten(0, 1))


def planes_from_png(png: bytes, count: int) -> Tensor:
    """The ``count`` masks (P, H, W) uint8 that `planes_to_png` was given, or the one of `mask_to_png`."""
    planes = mask_from_png(png)
    return planes.view(count, -1, planes.shape[1])


def _cityscapes_ids() -> LabelMap:
    """Label id -> train id; ids above the largest stay as they are, so that the range check finds them."""
    ignored = dict.fromkeys(range(LARGEST_LABEL_ID + 1), IGNORE)
    train_ids = {label_id: train_id for train_id, label_id in enumerate(LABEL_IDS)}
    return LabelMap(pairs=tuple((ignored | train_ids).items()), others_stay=True)


CITYSCAPES_IDS = _cityscapes_ids()
