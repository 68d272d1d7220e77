"""When a study ends before its trials do: the user asked, its time is over, its disk is full, its cluster has
no nodes, or all fail alike."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.tune import Stopper
from rich.console import Console

from ipix_tune.search.trial_message import TrialMessage

LOW_BYTES = 100 * 1024**2
"""Free space on the study's disk below which no study goes on."""
LOOK_EVERY_S = 5.0
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WAIT_S = 60.0
"""How long the study's disk may be full or away before the study ends."""


class Stop(Stopper):
    """A Ray Tune stopper; trials that it cuts off keep their checkpoints and stay open in the record.

    The first SIGINT, SIGTERM or SIGHUP (a terminal that is closed) ends the study cleanly; the second ends the process
    at once. A SIGHUP that is ignored, as under `nohup`, stays ignored.

    Args:
        folder: the study's folder, whose disk is watched.
        exhausted: gives the key of the budget that is used up, or None.
    """

    def __init__(self, folder: Path, *, exhausted: Callable[[], str | None]) -> None:
        self.by_user = False
        self.exhausted: str | None = None
        """The key of the budget that ended the study."""
        self.storage_fault: str | None = None
        self.no_room: str | None = None
        """Says that the cluster had no room for a trial for too long; None while it has."""
        self.alike: str | None = None
        """Says that trial after trial failed with the same error, and with which; None while they do not."""
        self._folder = folder
        self._exhausted = exhausted
        self._looked = 0.0
        self._bad_since: float | None = None

    def storage_failed(self, reason: str) -> None:
        """The study's storage cannot be written."""
        self.storage_fault = reason

    def lacks_room(self, reason: str) -> None:
        """The cluster has had no room for a trial for long. The first reason stands."""
        self.no_room = self.no_room or reason

    def failed_alike(self, reason: str) -> None:
        """Too many trials in a row failed with the same error. The first reason stands."""
        self.alike = self.alike or reason

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """A trial that breaks a constraint ends, whatever the scheduler would say."""
        return TrialMessage.from_result(result).infeasible is not None

    def stop_all(self) -> bool:
        self._look()
        if not self.by_user and self.exhausted is None:
            self.exhausted = self._exhausted()
        return self.by_user or any(
            why is not None for why in (self.exhausted, self.storage_fault, self.no_room, self.alike)
        )

    def _look(self) -> None:
        if self.storage_fault is not None or time.monotonic() - self._looked < LOOK_EVERY_S:
            return
        self._looked = time.monotonic()
        fault = self._fault()
        if fault is None:
            self._bad_since = None
        elif self._bad_since is None:
            self._bad_since = self._looked
        elif self._looked - self._bad_since > WAIT_S:
            self.storage_fault = fault

    def _fault(self) -> str | None:
        """What is wrong with the study's disk."""
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError as error:
            return f"it cannot be reached ({error.strerror or error})"
        return f"{free / 1e6:.0f} MB free, and a study needs {LOW_BYTES / 1e6:.0f} MB" if free < LOW_BYTES else None

    def why(self) -> str | None:
        """Why the study ended before its trials did, and what to do; None where it did not."""
        kept = "trials that were running kept their checkpoints"
        if self.by_user:
            return f"stopped by the user; {kept}"
        if self.storage_fault is not None:
            return f"the study's storage ({self._folder}) failed: {self.storage_fault}. Mend that first"
        if self.alike is not None:
            return (
                f"{self.alike}. The rest would end so too (stop_after_same_error). Mend the cause, then go on: trials "
                "that failed by data that have changed since run again by themselves, others with --retry-failed"
            )
        if self.no_room is not None:
            return f"{self.no_room}; {kept}. Add nodes first (see `ray status`)"
        return (
            None if self.exhausted is None else f"{self.exhausted} is over; {kept}. Set {self.exhausted} higher first"
        )

    @contextmanager
    def on_signals(self, console: Console) -> Iterator[None]:
        """Listen for the signals while the study runs."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: object) -> None:
            if self.by_user and number == signal.SIGHUP:
                return  # a terminal that is closed sends it twice
            if self.by_user:
                console.show_cursor(True)
                os._exit(130)
            self.by_user = True
            console.print("stopping: trials keep their checkpoints (once more: stop at once)", style="yellow")

        nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        heard = [number for number in ENDING if not (nohup and number == signal.SIGHUP)]
        before = {number: signal.signal(number, stop) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
