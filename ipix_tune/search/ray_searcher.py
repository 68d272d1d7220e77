"""The trial store as Ray Tune's searcher. Tune's own snapshots are not used: the store is the record."""

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from analysis.columns import State
from ipix_tune.search.trial_message import SCORE, TrialMessage
from ipix_tune.search.trial_store import TrialStore

Write = Callable[[Callable[[], object]], bool]
"""Does what writes into the record; False: its storage has failed, now or before."""


def write_and_raise(act: Callable[[], object]) -> bool:
    """Where nobody is there who would end the study, a storage that fails is an error."""
    act()
    return True


class TrialStoreSearcher(Searcher):
    """Hands out the store's trials, as many at once as ``concurrent`` says, and writes back what they report.

    Args:
        trials: the study's record.
        trial_config: what a trial needs besides its key and values, by key and values.
        concurrent: gives the trials that may be handed out at once now; it may change.
        converged: says why no new trial is worth starting; None while one is.
        max_epochs: full length of a trial.
        watched: a `ipix_tune.execution.tune_callback.TuneCallback` ends the trials, once their logs are closed; else
            they end here.
        write: how the end of a trial is written. Ray Tune takes an error of its searcher at a trial's end for one of
            the trial, which has failed then.
    """

    def __init__(
        self,
        trials: TrialStore,
        *,
        trial_config: Any,
        concurrent: Callable[[], int],
        converged: Callable[[], str | None] = lambda: None,
        max_epochs: int,
        watched: bool = False,
        write: Write = write_and_raise,
    ) -> None:
        super().__init__(metric=SCORE)
        self._trials = trials
        self._trial_config = trial_config
        self._concurrent, self._converged = concurrent, converged
        self._max_epochs = max_epochs
        self._watched = watched
        self._write = write
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
        found = self._trials.next(begin=self._converged() is None)
        if found is None:
            return None if self._trials.waits else str(Searcher.FINISHED)
        key, values = found
        self._keys[trial_id] = key
        config: dict[str, Any] = self._trial_config(key, values)
        return config

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._record(self._keys[trial_id], TrialMessage.from_result(result))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The result that made the scheduler stop a trial arrives here first. Why a trial failed is not told to a
        searcher, but to a watcher."""
        key = self._keys.pop(trial_id, None)
        if key is None or error:
            return
        told = TrialMessage.from_result(result or {})
        self._write(lambda: self._record_end(key, told))

    def _record_end(self, key: str, told: TrialMessage) -> None:
        state, reason = end_of(told, max_epochs=self._max_epochs)
        if state == "stopped" and told.epoch is not None:
            self._trials.stop(key, epoch=told.epoch)
        self._record(key, told)
        if state != "interrupted" and not self._watched:
            self._trials.end(key, state=state, error=reason, cause=told.cause)

    def _record(self, key: str, told: TrialMessage) -> None:
        if told.epoch is not None:
            self._trials.measure(key, told.metrics, last=told.epoch >= self._max_epochs)
        if told.score is not None and told.epoch is not None:
            second = None if self._trials.second_metric is None else told.metrics.get(self._trials.second_metric)
            self._trials.report(key, epoch=told.epoch, score=told.score, seconds=told.seconds, second_score=second)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the record is on disk already."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see :meth:`save`."""


def end_of(last: TrialMessage, *, max_epochs: int) -> tuple[State, str | None]:
    """How a trial that raised nothing and whose last message this is ended, and why where it did not go well."""
    if last.unwritable is not None:
        return "interrupted", last.unwritable
    if last.failed is not None:
        return "failed", last.failed
    if last.infeasible is not None:
        return "infeasible", last.infeasible
    return ("complete" if (last.epoch or 0) >= max_epochs else "stopped"), None
