"""Values and sizes of masks, checked before a run for all that will ever be read; each file once, until it changes."""

import struct
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from trainers.data.facts import facts_of
from trainers.data.layout import Item
from trainers.data.opening import CorruptError
from trainers.data.pixels import read_header
from trainers.data.read import check_sizes, mask_array
from trainers.interface.labels import IGNORE

_FACT = struct.Struct("<II32s")
"""Height, width, and a bit for every value that occurs."""


def check_masks(items: Sequence[Item], *, num_classes: int, skip_corrupt: bool = False) -> None:
    """See that every mask can be read, holds class indices and has its image's size.

    Args:
        items: those without a mask are passed over.
        num_classes: indices must be below it, or 255.
        skip_corrupt: pass over what cannot be decoded too.

    Raises:
        DataError: names the first file at fault, in the order of the items, and its line.
    """
    ways: dict[str, dict[Path, Item]] = {}
    for item in items:
        if item.mask is not None:
            ways.setdefault(_way(item), {}).setdefault(item.mask, item)
    facts = {
        way: facts_of(list(by_mask), partial(_read, by_mask, skip_corrupt), kind=f"{way}, {skip_corrupt}")
        for way, by_mask in ways.items()
    }
    for item in items:
        if item.mask is None or not (fact := facts[_way(item)][item.mask]):
            continue
        height, width, bits = _FACT.unpack(fact)
        values = np.flatnonzero(np.unpackbits(np.frombuffer(bits, np.uint8)))
        if any(num_classes <= value < IGNORE for value in values):
            mask_array(item, num_classes=num_classes)  # says which, and how to mend it
        try:
            check_sizes(item, read_header(item.image, item).size, (height, width))
        except CorruptError:
            if not skip_corrupt:
                raise


def _way(item: Item) -> str:
    """How a mask is read; the name of what was found out that way."""
    return f"values of a mask, label ids {item.label_ids}, {item.decoding.digest}"


def _read(by_mask: Mapping[Path, Item], skip_corrupt: bool, path: Path) -> bytes:
    """What is kept of a mask; nothing of one that is passed over."""
    try:
        mask = mask_array(by_mask[path])
    except CorruptError:
        if not skip_corrupt:
            raise
        return b""
    found = np.zeros(256, np.uint8)
    found[np.unique(mask)] = 1
    return _FACT.pack(*mask.shape, np.packbits(found).tobytes())
