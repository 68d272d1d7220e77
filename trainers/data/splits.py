"""Splits: drawn, held out, hashed. `python -m trainers.data.splits --help` draws them from the shell."""

import hashlib
import json
from collections.abc import Sequence

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


def hold_out(items: Sequence[Item], images: int, *, seed: int) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """(held out, rest), both in list order. Each image's lot depends on its name and `seed` alone, so that lists which
    differ in a few images hold out mostly the same ones."""
    lots = sorted(range(len(items)), key=lambda i: hashlib.sha256(f"{seed} {items[i].name}".encode()).digest())
    chosen = set(lots[:images])
    held = tuple(item for i, item in enumerate(items) if i in chosen)
    return held, tuple(item for i, item in enumerate(items) if i not in chosen)


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


if __name__ == "__main__":
    from trainers.data.draw import app

    app()
