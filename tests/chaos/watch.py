"""Watching a study from outside while something happens to it."""

import threading
import time
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds until the next epoch was on disk, and epochs that were there before and had to be trained again."""

    seconds: float
    epochs_lost: int
    how: str


class Watch:
    """Looks at all trials' `metrics.jsonl` from the moment of a fault on.

    Args:
        place: the study's folder.
        how: how the study goes on, for the table.
    """

    def __init__(self, place, *, how):
        self._place, self._how = place, how
        self._before = self._least = self._epochs()
        self._began, self._went_on = time.monotonic(), None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self):
        """What it cost; called once the study has ended."""
        self._over.set()
        self._thread.join()
        assert self._went_on is not None, "no epoch came after the fault"
        lost = sum(count - self._least.get(key, 0) for key, count in self._before.items())
        return Cost(seconds=self._went_on - self._began, epochs_lost=lost, how=self._how)

    def _epochs(self):
        """Epochs on disk by trial; a folder that is away for the moment is looked at again."""
        files = sorted(self._place.glob("trials/*/metrics.jsonl"))
        return {file.parent.name: file.read_text().count("\n") for file in files}

    def _look(self):
        while not self._over.wait(0.05):
            try:
                now = self._epochs()
            except OSError:
                continue
            if not now:
                continue
            self._least = {key: min(count, now.get(key, 0)) for key, count in self._least.items()}
            if self._went_on is None and sum(now.values()) > sum(self._before.values()):
                self._went_on = time.monotonic()
