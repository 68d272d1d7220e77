"""Splits: drawn, held out, hashed. `python -m trainers.cli.draw_splits --help` draws them from the shell."""

import hashlib
import json
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from trainers.data.layout import Item


def stratified_order(present: Sequence[frozenset[int]], *, seed: int) -> list[int]:
    """All indices in an order whose prefixes are the drawn splits, so that they are nested from small to large.

    Images are shuffled by `seed`; then, as long as some class is missing, the image that adds most missing classes
    goes next (ties as shuffled), so that a prefix shows every class as early as that rule can.

    Args:
        present: the classes that occur in each image.
    """
    left = [int(i) for i in np.random.default_rng([seed, 0]).permutation(len(present))]
    missing = set().union(*present)
    order: list[int] = []
    while missing:
        best = max(left, key=lambda index: len(present[index] & missing))
        left.remove(best)
        missing -= present[best]
        order.append(best)
    return order + left


def hold_out(
    items: Sequence[Item], images: int, *, seed: int, same: Callable[[Item], Hashable] = lambda item: item.image
) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """(held out, rest), both in list order. Each image's lot depends on its name and `seed` alone, so that lists which
    differ in a few images hold out mostly the same ones.

    Args:
        items: of one list.
        images: how many are held out; items of one image go together and count once.
        same: equal for items of the same image.
    """
    lots = sorted(items, key=lambda item: hashlib.sha256(f"{seed} {item.name}".encode()).digest())
    chosen = set(list(dict.fromkeys(same(item) for item in lots))[:images])
    held = tuple(item for item in items if same(item) in chosen)
    return held, tuple(item for item in items if same(item) not in chosen)


def split_hash(
    *, labelled: Sequence[Item], unlabelled: Sequence[Item], holdout: Sequence[Item], version: str = ""
) -> str:
    """Twelve hex digits over the three lists in their order (images by name, masks where they are used), and the data
    set's version."""
    lists: list[object] = [
        [(item.name, item.mask_name) for item in labelled],
        [(item.name, None) for item in unlabelled],
        [(item.name, item.mask_name) for item in holdout],
    ]
    if version:
        lists.append(version)
    return hashlib.sha256(json.dumps(lists).encode()).hexdigest()[:12]
