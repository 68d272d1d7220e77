"""What was found out about a file, kept in the user's cache until the file changes.

To read ten thousand files takes minutes, and every trial of a study asks the same of them. A fact is found by the
file's path, size, times and number on its disk: one that was written anew is read anew, also where its size and its
time of change were set back.
"""

import functools
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lmdb

from trainers.data.layout import cache_folder

logger = logging.getLogger(__name__)

LIMIT = 2**28
"""Largest size of the file that holds them, in bytes; a fact takes about 100."""
READERS = 4096
TICK_NS = 20_000_000
"""Longer than the steps in which file systems count a file's times."""
AT_ONCE = 8
"""Files that are read side by side."""


def facts_of(paths: Sequence[Path], find: Callable[[Path], bytes], *, kind: str) -> dict[Path, bytes]:
    """What ``find`` says of each of these files, where possible without asking it.

    A cache that cannot be read or written is done without.

    Args:
        paths: files.
        find: gives the fact of a file, a few bytes; none where there is nothing to keep. What it raises is raised
            here, for the first file in order.
        kind: names the fact and how it is found out; another way needs another name.
    """
    store, keys = _store(cache_folder() / "facts"), {path: state_of(path) for path in dict.fromkeys(paths)}
    known = store.get({path: _key(state, kind) for path, state in keys.items() if state is not None})
    missing = [path for path in keys if path not in known]
    if any(_just_written(path) for path in missing):
        time.sleep(TICK_NS / 1e9)
        keys |= {path: state_of(path) for path in missing}
    with ThreadPoolExecutor(min(AT_ONCE, os.cpu_count() or 1)) as pool:
        found: dict[Path, bytes] = {}
        try:
            for path, fact in zip(missing, _in_order(pool, find, missing), strict=True):
                found[path] = fact
        finally:
            store.put(
                {_key(state, kind): found[path] for path in found if (state := keys[path]) is not None and found[path]}
            )
            pool.shutdown(wait=True, cancel_futures=True)
    return {path: known[path] if path in known else found[path] for path in keys}


def _in_order(pool: ThreadPoolExecutor, find: Callable[[Path], bytes], paths: Sequence[Path]) -> Iterator[bytes]:
    return pool.map(find, paths)


def _just_written(path: Path) -> bool:
    """Whether a change right now could leave the file's times as they are."""
    try:
        return time.time_ns() - path.stat().st_ctime_ns < TICK_NS
    except (OSError, ValueError):
        return False


def state_of(path: Path) -> str | None:
    """What tells a file from what it was before; None where it cannot be had."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return f"{path.absolute()}|{status.st_size}|{status.st_mtime_ns}|{status.st_ctime_ns}|{status.st_ino}"


def _key(state: str, kind: str) -> bytes:
    return hashlib.blake2b(f"{state}|{kind}".encode(errors="surrogateescape"), digest_size=20).digest()


class _Store:
    """Bytes by key in one LMDB file, which several processes may use at once; nothing where it cannot be had."""

    def __init__(self, folder: Path) -> None:
        self._file: lmdb.Environment | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = lmdb.open(str(folder), map_size=LIMIT, max_readers=READERS)
            self._file.reader_check()
        except (lmdb.Error, OSError) as error:
            self._give_up(error)

    def get(self, keys: dict[Path, bytes]) -> dict[Path, bytes]:
        if self._file is None:
            return {}
        try:
            with self._file.begin() as reading:
                found = {path: reading.get(key) for path, key in keys.items()}
        except lmdb.Error as error:
            self._give_up(error)
            return {}
        return {path: fact for path, fact in found.items() if fact is not None}

    def put(self, facts: dict[bytes, bytes]) -> None:
        if self._file is None or not facts:
            return
        try:
            with self._file.begin(write=True) as writing:
                for key, fact in facts.items():
                    writing.put(key, fact)
        except lmdb.Error as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._file = None
        logger.info("what was found out about files is not kept: %s", error)


@functools.lru_cache
def _store(folder: Path) -> _Store:
    """This process's; LMDB allows one opening of a file in a process."""
    return _Store(folder)
