"""How many pixels of each class the masks hold; each mask counted once, until it changes."""

import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from trainers.data.facts import facts_of
from trainers.data.layout import Item
from trainers.data.opening import CorruptError
from trainers.data.read import mask_array

_PAIR = struct.Struct("<BQ")
"""A value, and how many pixels have it."""


def class_pixels(items: Sequence[Item], *, num_classes: int, skip_corrupt: bool = False) -> tuple[int, ...]:
    """Pixels of each class in the masks of all items, an item that is listed twice counted twice; ignored pixels are of
    no class.

    Args:
        skip_corrupt: a mask that cannot be opened or decoded holds none, in place of an error.

    Raises:
        DataError: by name, a mask cannot be read.
    """
    found: Counter[int] = Counter()
    ways: dict[str, list[Item]] = {}
    for item in items:
        ways.setdefault(f"pixels of each class, label ids {item.label_ids}, {item.decoding.digest}", []).append(item)
    for way, alike in ways.items():
        by_mask = {item.mask: item for item in alike if item.mask is not None}
        facts = facts_of(list(by_mask), partial(_count, by_mask, skip_corrupt), kind=f"{way}, {skip_corrupt}")
        for item in alike:
            assert item.mask is not None
            for value, count in _PAIR.iter_unpack(facts[item.mask]):
                found[value] += count
    return tuple(found[index] for index in range(num_classes))


def _count(by_mask: Mapping[Path, Item], skip_corrupt: bool, path: Path) -> bytes:
    """Nothing of a mask that is passed over."""
    try:
        counts = np.bincount(mask_array(by_mask[path]).ravel(), minlength=256)
    except CorruptError:
        if not skip_corrupt:
            raise
        return b""
    return b"".join(_PAIR.pack(value, counts[value]) for value in np.flatnonzero(counts).tolist())
