"""Which classes occur in which image: read from the masks once, then remembered in the user's cache."""

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainers.data.facts import state_of
from trainers.data.layout import Item, cache_folder
from trainers.data.opening import CorruptError
from trainers.interface.labels import IGNORE


def classes_present(items: Sequence[Item], *, skip_corrupt: bool = False) -> list[frozenset[int]]:
    """The class indices in each item's mask; as :func:`values_present` without 255."""
    return [values - {IGNORE} for values in values_present(items, skip_corrupt=skip_corrupt)]


def values_present(items: Sequence[Item], *, skip_corrupt: bool = False) -> list[frozenset[int]]:
    """The class indices in each item's mask, and 255 where a pixel is ignored.

    Ten thousand masks take half a minute to read, and every trial of a study asks: the answer is kept under the masks'
    states and how they are read. A cache that cannot be written or read is done without.

    Args:
        skip_corrupt: a mask that cannot be opened or decoded shows no class, in place of an error.

    Raises:
        DataError: by name, a mask cannot be read.
    """
    stamp = hashlib.sha256()
    for item in items:
        assert item.mask is not None
        stamp.update(
            f"{state_of(item.mask)}\t{item.label_ids}\t{item.decoding.digest}\n".encode(errors="surrogateescape")
        )
    file = cache_folder() / "classes" / f"{stamp.hexdigest()[:24]}.json"
    try:
        return [frozenset(classes) for classes in json.loads(file.read_text())]
    except (OSError, ValueError):
        found = [_in_mask(item, skip_corrupt=skip_corrupt) for item in items]
        present = [frozenset() if classes is None else classes for classes in found]
        if None not in found:
            _keep(file, json.dumps([sorted(classes) for classes in present]))
        return present


def _in_mask(item: Item, *, skip_corrupt: bool) -> frozenset[int] | None:
    """None: it cannot be decoded."""
    from trainers.data.read import mask_array

    try:
        counts = np.bincount(mask_array(item).ravel(), minlength=256)
    except CorruptError:
        if not skip_corrupt:
            raise
        return None
    return frozenset(np.flatnonzero(counts).tolist())


def _keep(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent)
        with os.fdopen(handle, "w") as stream:
            stream.write(text)
        Path(temporary).replace(file)
    except OSError:
        return
