"""Waiting out a storage that is full or away for a moment."""

import errno
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Error numbers of a write for which there is no room, on the disk or in the user's quota."""

FIRST_S, LONGEST_S = 0.5, 5.0
"""Pause after the first failure, doubled after each further one up to the longest."""


def patiently(
    write: Callable[[], T], *, path: Path | str, wait_s: float, faults: tuple[type[Exception], ...] = (OSError,)
) -> T:
    """What ``write`` gives; it is called again for up to ``wait_s`` seconds while it fails.

    Args:
        write: leaves nothing behind where it fails.
        path: what it writes or reads, for the log.
        wait_s: seconds after the first failure; 0: one attempt.
        faults: errors that may pass; the last of them is raised when the time is over.
    """
    pause, until = FIRST_S, time.monotonic() + wait_s
    while True:
        try:
            return write()
        except faults as error:
            left = until - time.monotonic()
            if left <= 0:
                raise
            logger.warning("%s: failed (%s); trying again for %.0f s", path, error, left)
            time.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_S)
