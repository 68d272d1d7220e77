"""Which classes occur in which image: read from the masks once, then remembered in the user's cache."""

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainers.data.layout import Item, cache_folder

IGNORE = 255


def classes_present(items: Sequence[Item]) -> list[frozenset[int]]:
    """The class indices in each item's mask, 255 left out.

    Ten thousand masks take half a minute to read, and every trial of a study asks: the answer is kept under the masks'
    paths, sizes and times of change. A cache that cannot be written or read is done without.
    """
    stamp = hashlib.sha256()
    for item in items:
        assert item.mask is not None
        status = item.mask.stat()
        stamp.update(f"{item.mask.absolute()}\t{status.st_size}\t{status.st_mtime_ns}\t{item.label_ids}\n".encode())
    file = cache_folder() / "classes" / f"{stamp.hexdigest()[:24]}.json"
    try:
        return [frozenset(classes) for classes in json.loads(file.read_text())]
    except (OSError, ValueError):
        present = [_in_mask(item) for item in items]
        _keep(file, json.dumps([sorted(classes) for classes in present]))
        return present


def _in_mask(item: Item) -> frozenset[int]:
    from trainers.data.read import mask_array

    counts = np.bincount(mask_array(item).ravel(), minlength=256)
    return frozenset(np.flatnonzero(counts[:IGNORE]).tolist())


def _keep(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent)
        with os.fdopen(handle, "w") as stream:
            stream.write(text)
        Path(temporary).replace(file)
    except OSError:
        return
