"""When one fault ends trial after trial, the next would end by it too: the study stops, and the budget is kept."""

import re

from trainers.common.errors import DataError, LoaderError, OutOfMemory, TrainingError

DATA, MEMORY, DIVERGED, OTHER = "data", "memory", "diverged", "other"
"""What kind of error ended a trial: a file of the data; the device's memory; a loss or weight that is not finite, which
its configuration does; anything else."""


def cause_of(error: BaseException) -> str:
    """The kind of an error that ended a trial."""
    if isinstance(error, DataError):
        return DATA
    if isinstance(error, OutOfMemory):
        return MEMORY
    diverged = isinstance(error, TrainingError) and not isinstance(error, LoaderError)
    return DIVERGED if diverged else OTHER


class Alike:
    """Counts trials that failed one after the other with the same error.

    Errors of the data are all the same, whichever file they name. Others are where they differ in numbers only. A loss
    that is not finite ends a row: the trial ran, and its configuration made it diverge. So does a device's memory that
    was too small, as soon as one trial of the study fitted into it: then the configuration decides that too.

    Args:
        limit: so many in a row stop the study; 0: never.
        fitted: whether a trial of the study has run to its end, or to where the scheduler stopped it.
    """

    def __init__(self, limit: int, *, fitted: bool = False) -> None:
        self._limit, self._fitted = limit, fitted
        self._last: str | None = None
        self._count = 0

    def ended(self, *, state: str, error: str | None, cause: str | None) -> str | None:
        """One more trial has ended; why the study should stop, or None."""
        self._fitted = self._fitted or state in ("complete", "stopped", "infeasible")
        by_configuration = cause == DIVERGED or (cause == MEMORY and self._fitted)
        if state != "failed" or by_configuration:
            self._last, self._count = None, 0
            return None
        same = DATA if cause == DATA else re.sub(r"\d+(\.\d+)?", "0", error or "")
        self._count = self._count + 1 if same == self._last else 1
        self._last = same
        if not self._limit or self._count < self._limit:
            return None
        return f"{self._count} trials in a row failed with the same error: {error}"
