"""The journal as Ray Tune's searcher. Tune's own snapshots of it are not used: the journal is the record."""

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from analysis.columns import State
from ipix_tune.search.asha import EPOCH, METRICS, SCORE
from ipix_tune.search.trial_store import TrialStore

FAILED = "failed"
"""Key of a result that says that the trial cannot go on, and why; it is not worth a retry."""
CAUSE = "cause"
"""Key of the same result: what kind of error it is, as `ipix_tune.search.repeated_error` tells them apart."""
UNWRITABLE = "unwritable"
"""Key of a result that says that the study's storage cannot be written, and why; the trial goes on from its checkpoint
once that is mended."""


class TrialStoreSearcher(Searcher):
    """Hands out the journal's trials, as many at once as ``concurrent`` says, and writes back what they report.

    Args:
        journal: the study's record.
        trial_config: what a trial needs besides its key and values, by key and values.
        concurrent: gives the trials that may be handed out at once now; it may change.
        converged: says why no new trial is worth starting; None while one is.
        max_epochs: full length of a trial.
        watched: a `ipix_tune.execution.tune_callback.TuneCallback` ends the trials, once their logs are closed; else
            they end here.
    """

    def __init__(
        self,
        journal: TrialStore,
        *,
        trial_config: Any,
        concurrent: Callable[[], int],
        converged: Callable[[], str | None] = lambda: None,
        max_epochs: int,
        watched: bool = False,
    ) -> None:
        super().__init__(metric=SCORE)
        self._journal = journal
        self._trial_config = trial_config
        self._concurrent, self._converged = concurrent, converged
        self._max_epochs = max_epochs
        self._watched = watched
        self._keys: dict[str, str] = {}

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        return object, ()

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Tune's own limiter asks whether it may leave the counting to the searcher: yes. Its number only says how many
        processes Tune starts side by side."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """A trial's config; None: none now; `Searcher.FINISHED`: none any more."""
        if len(self._keys) >= self._concurrent():
            return None
        found = self._journal.next(begin=self._converged() is None)
        if found is None:
            return None if self._journal.waits else str(Searcher.FINISHED)
        key, values = found
        self._keys[trial_id] = key
        config: dict[str, Any] = self._trial_config(key, values)
        return config

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._record(self._keys[trial_id], result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The result that made the scheduler stop a trial arrives here first. Why a trial failed is not told to a
        searcher, but to a watcher."""
        key = self._keys.pop(trial_id, None)
        if key is None or error:
            return
        result = result or {}
        state, reason = end_of(result, max_epochs=self._max_epochs)
        if state == "stopped" and EPOCH in result:
            self._journal.stop(key, epoch=int(result[EPOCH]))
        self._record(key, result)
        if state != "interrupted" and not self._watched:
            self._journal.end(key, state=state, error=reason, cause=result.get(CAUSE))

    def _record(self, key: str, result: dict[str, Any]) -> None:
        if SCORE in result:
            seconds = (_metric(result, "time/epoch_s") or 0) + (_metric(result, "time/eval_s") or 0)
            second = None if self._journal.against is None else _metric(result, self._journal.against)
            self._journal.record(
                key, epoch=int(result[EPOCH]), score=float(result[SCORE]), seconds=seconds, against=second
            )

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is on disk already."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see :meth:`save`."""


def _metric(result: dict[str, Any], name: str) -> float | None:
    """A trainer's metric. Tune hands a searcher flat results, with the names of nested keys joined by slashes."""
    found: float | None = result.get(f"{METRICS}/{name}", result.get(METRICS, {}).get(name))
    return found


def end_of(result: dict[str, Any], *, max_epochs: int) -> tuple[State, str | None]:
    """How a trial that raised nothing and ended with this last result ended, and why where it did not go well."""
    if UNWRITABLE in result:
        return "interrupted", str(result[UNWRITABLE])
    if FAILED in result:
        return "failed", str(result[FAILED])
    return ("complete" if int(result.get(EPOCH, 0)) >= max_epochs else "stopped"), None
