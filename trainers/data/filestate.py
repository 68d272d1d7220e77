"""What tells one content of a file from another without reading it, for caches on disk."""

import time
from pathlib import Path

TICK_NS = 20_000_000
"""Longer than the steps in which file systems count a file's times."""


def file_state(path: Path) -> str | None:
    """Path, size, times of change of content and entry, and inode; None where the file is not to be had. A file that is
    replaced by one of equal size and time of change, as by `rsync -t` or an unpacked archive, has another state."""
    try:
        state = path.stat()
    except OSError:
        return None
    times = f"{state.st_mtime_ns}|{state.st_ctime_ns}"
    return f"{path.absolute()}|{state.st_size}|{times}|{state.st_dev}|{state.st_ino}"


def settled_state(path: Path) -> str | None:
    """As :func:`file_state`, once any later change would give another one: of a file that has just been written, a
    moment later."""
    try:
        age = time.time_ns() - path.stat().st_ctime_ns
    except OSError:
        return None
    if age < TICK_NS:
        time.sleep(min(TICK_NS - age, TICK_NS) / 1e9)
    return file_state(path)
