"""The state of a file at a moment from which on any change is noticed, for caches of what it holds."""

import time
from pathlib import Path

from trainers.data.facts import TICK_NS, state_of


def settled_state(path: Path) -> str | None:
    """As `state_of`, once any later change would give another one: of a file that has just been written, a moment
    later."""
    try:
        age = time.time_ns() - path.stat().st_ctime_ns
    except OSError:
        return None
    if age < TICK_NS:
        time.sleep(min(TICK_NS - age, TICK_NS) / 1e9)
    return state_of(path)
