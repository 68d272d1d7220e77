"""Decoded images on this node's disk, shared by all loader workers and all trials that read the same data.

One LMDB file for each data folder: read through memory maps, written by one process at a time, whole after a kill. An
image is found by its file's state and how it was decoded, so that a changed file is decoded anew.
"""

import hashlib
import logging
import struct
from pathlib import Path

import lmdb
import numpy as np
from numpy.typing import NDArray

from trainers.data.facts import state_of
from trainers.data.layout import cache_folder

logger = logging.getLogger(__name__)

READERS = 4096
"""Processes that can read at the same time."""
_SHAPE = struct.Struct("<III")


class DecodedStore:
    """Arrays of uint8 by name, at most ``limit`` bytes of them; what finds no room is not kept.

    Args:
        folder: where the file lies, on a disk of this node (not a network's: LMDB's locks need shared memory).
        limit: largest size of the file in bytes.
    """

    def __init__(self, folder: Path, *, limit: int) -> None:
        self._folder = folder
        self._full = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file: lmdb.Environment | None = lmdb.open(str(folder), map_size=limit, max_readers=READERS)
            self._file.reader_check()
        except (lmdb.Error, OSError) as error:
            self._give_up(error)

    def get(self, source: Path, *, kind: str) -> NDArray[np.uint8] | None:
        """What was kept of a file as it is now: (C, H, W) or (H, W), writable; None where nothing was.

        Args:
            source: the file.
            kind: how it was decoded.
        """
        if self._file is None or (key := _key(source, kind)) is None:
            return None
        try:
            with self._begin(write=False) as reading:
                data = reading.get(key)
                if data is None:
                    return None
                channels, height, width = _SHAPE.unpack_from(data)
                pixels = np.frombuffer(data, np.uint8, offset=_SHAPE.size).copy()
        except lmdb.Error as error:
            self._give_up(error)
            return None
        return pixels.reshape((channels, height, width) if channels else (height, width))

    def put(self, source: Path, pixels: NDArray[np.uint8], *, kind: str) -> None:
        """Keep what a file was decoded to; nothing happens where there is no room."""
        if self._file is None or self._full or (key := _key(source, kind)) is None:
            return
        *channels, height, width = pixels.shape
        data = _SHAPE.pack(*(channels or [0]), height, width) + pixels.tobytes()
        try:
            with self._begin(write=True) as writing:
                writing.put(key, data)
        except lmdb.MapFullError:
            self._full = True
            logger.info("%s is full (data.cache_gb); other images are decoded each time", self._folder)
        except lmdb.Error as error:
            self._give_up(error)

    def _begin(self, *, write: bool) -> "lmdb.Transaction[memoryview]":
        """A transaction, also where a process with a higher limit has made the file larger than was mapped here."""
        assert self._file is not None
        try:
            return self._file.begin(write=write, buffers=True)
        except lmdb.MapResizedError:
            self._file.set_mapsize(0)
            return self._file.begin(write=write, buffers=True)

    def _give_up(self, error: Exception) -> None:
        self._file = None
        logger.warning("%s: decoded images cannot be kept there: %s", self._folder, error)


_open: dict[Path, DecodedStore] = {}
"""This process's stores by folder: LMDB allows one opening of a file in a process."""


def store_of(root: Path, *, limit: int) -> DecodedStore | None:
    """This process's store for a data folder; None where ``limit`` is 0. The limit of the first opening holds for all
    later ones."""
    if limit == 0:
        return None
    name = hashlib.sha256(str(root.resolve()).encode(errors="surrogateescape")).hexdigest()[:16]
    folder = cache_folder() / "decoded" / name
    if folder not in _open:
        _open[folder] = DecodedStore(folder, limit=limit)
    return _open[folder]


def close_stores() -> None:
    """Forget this process's stores."""
    _open.clear()


def _key(source: Path, kind: str) -> bytes | None:
    """None where the file is not to be had; whoever reads it will say so."""
    if (state := state_of(source)) is None:
        return None
    text = f"{state}|{kind}|{_SHAPE.format}"
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=20).digest()
