"""Waiting for loader workers, with an end: what they wait for themselves, or die of, is said."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainers.common.errors import LoaderError

SHARED = Path("/dev/shm")


def watched(batches: Iterator[Any], *, wait_s: float) -> Iterator[Any]:
    """The batches of loader workers.

    Args:
        batches: of a DataLoader whose timeout is ``wait_s``.
        wait_s: seconds, for the message.

    Raises:
        LoaderError: none came for so long, or a worker died.
    """
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except RuntimeError as error:
            if not str(error).startswith("DataLoader"):
                raise
            raise LoaderError(_reason(str(error), wait_s)) from error
        yield batch


def _reason(said: str, wait_s: float) -> str:
    memory = _shared_memory()
    if "timed out" in said:
        return (
            f"the loader workers gave no batch for {wait_s:g} s (data.loader_wait_s){memory}. Where it is full, they "
            "wait for ever: enlarge it (docker run --shm-size), or set data.loader_workers lower or 0. Else the folder "
            "of the data may hang: see whether its files can be read"
        )
    return (
        f"a loader worker died: {said.strip().splitlines()[0]}{memory}. It was killed, or the machine's memory or the "
        "shared memory is too small: set data.loader_workers lower or 0, or enlarge them (docker run --shm-size)"
    )


def _shared_memory() -> str:
    try:
        usage = shutil.disk_usage(SHARED)
    except OSError:
        return ""
    return (
        f"; {SHARED}, through which they hand them over, has {usage.free / 1e6:.0f} of {usage.total / 1e6:.0f} MB free"
    )
