"""Ray Tune's callback: what trials report goes to W&B and to the progress table."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from ray.tune import Callback

from analysis.columns import State
from ipix_tune.execution.placement import Releaser
from ipix_tune.execution.progress_table import Display, TrialRow
from ipix_tune.search.ray_searcher import Write, end_of, write_and_raise
from ipix_tune.search.repeated_error import OTHER, Alike
from ipix_tune.search.trial_message import TrialMessage
from ipix_tune.search.trial_store import TrialStore
from ipix_tune.tracking.pictures import left_by
from ipix_tune.tracking.runs import Tracker

UNRECORDED = "its end could not be recorded"


class TuneCallback(Callback):
    """Fans out what happens to trials.

    Args:
        trials: counts retries, and is told of a trial's end after W&B, so that an end that it knows is in the logs.
        tracker: W&B.
        display: the progress table on the console.
        values: values by trial key, filled by whoever hands trials out.
        retries: how often a trial whose process died while it was handed to it is handed out again.
        on_end: called with a trial's key once it has ended.
        on_step: called often.
        on_storage_fault: called with the reason when a trial could not write to the study's storage.
        write: how a trial's end is written into the record. Where that fails, the trial goes on when the study does.
        alike: counts failures with the same error.
        on_alike: called with the reason when there were too many of them in a row.
        thaws: a trial that the scheduler stopped may go on later, so that its W&B run stays open until the study ends:
            W&B's client takes a run's id once in a process.
    """

    def __init__(
        self,
        trials: TrialStore,
        tracker: Tracker,
        display: Display,
        *,
        values: dict[str, Any],
        retries: int,
        on_end: Callable[[str], None],
        on_step: Callable[[], None],
        on_storage_fault: Callable[[str], None],
        write: Write = write_and_raise,
        alike: Alike | None = None,
        on_alike: Callable[[str], None] = lambda reason: None,
        thaws: bool = False,
    ) -> None:
        self._trials = trials
        self._tracker = tracker
        self._display = display
        self._values = values
        self._retries = retries
        self._on_end = on_end
        self._on_step = on_step
        self._on_storage_fault = on_storage_fault
        self._write = write
        self._alike, self._on_alike = alike or Alike(0), on_alike
        self._thaws = thaws
        self._recovered: dict[str, int] = {}
        self._handed_out_again: Counter[str] = Counter()
        self._ended: set[str] = set()
        self._groups: dict[str, str] = {}
        self._releaser = Releaser()

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        return object, ()

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        key = trial.config["key"]
        if key in self._display.progress.rows and self._display.progress.rows[key].state == "running":
            return
        again = key in self._display.progress.rows
        self._open(trial)
        self._display.started(key, again=again)

    def _open(self, trial: Any) -> TrialRow:
        """The trial's row, made with its W&B run where there is none yet: a trial whose process dies, or whose node
        vanishes, before it has started fails without a start."""
        key = trial.config["key"]
        row = self._display.progress.rows.get(key)
        if row is None or row.state != "running":
            self._ended.discard(key)
            values, past = self._values[key], self._trials.entry(key)
            row = TrialRow(values=values, retries=past.retries)
            epoch = max(past.scores, default=0)
            row.reported(epoch, score=past.scores.get(epoch), second_score=past.second_score)
            self._display.progress.rows[key] = row
            self._tracker.start(key, values=values, trainer=trial.config["trainer"])
        return row

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        key, told = trial.config["key"], TrialMessage.from_result(result)
        if told.placement_group is not None:
            self._groups[key] = told.placement_group
            self._releaser.used(told.placement_group)
        if told.epoch is None:
            return
        if told.accumulate is not None:
            self._tracker.in_parts(key, told.accumulate)
        self._tracker.split(key, told.split_hash or "")
        epoch = told.epoch
        self._tracker.log(key, epoch=epoch, metrics=dict(told.metrics), held_out=lambda: left_by(trial.config, epoch))
        row = self._display.progress.rows[key]
        if told.infeasible is not None:
            row.infeasible, row.error = True, told.infeasible
        if told.epoch <= row.epoch:
            return
        second = self._display.progress.second_objective
        row.reported(
            told.epoch, score=told.score, second_score=None if second is None else told.metrics.get(second.metric)
        )
        self._display.epoch(key)

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        key, row = trial.config["key"], self._open(trial)
        self._recovered[key] = iteration
        row.retries = self._trials.retried(key)
        row.error = last_line(trial)
        if (group := self._groups.pop(key, None)) is not None:
            self._releaser.died(group)
        self._display.retried(key)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        last = TrialMessage.from_result(trial.last_result or {})
        state, error = end_of(last, max_epochs=self._display.progress.max_epochs)
        if state == "interrupted":
            self._on_storage_fault(str(error))
        elif not self._write(lambda: None):
            state, error = "interrupted", UNRECORDED
        self._end(trial.config["key"], state, error, last.cause)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Of a process that dies while it is handed from one trial to the next Tune tells twice at once: that the trial
        goes on, and, since it does not run yet, that it is over. Such a trial is handed out again, `retries` times at
        most: Tune's own count begins anew with each."""
        key, reason = trial.config["key"], last_line(trial)
        self._open(trial)
        if self._recovered.get(key) == iteration and self._handed_out_again[key] < self._retries:
            self._handed_out_again[key] += 1
            self._trials.take_back(key)
        else:
            self._end(key, "failed", reason, OTHER)

    def on_experiment_end(self, trials: Any, **info: Any) -> None:
        """Trials that are still open were cut off by the user or the time budget; their runs are closed as such, and so
        are those of trials that might have gone on."""
        for key, row in self._display.progress.rows.items():
            if row.state == "running":
                row.state = "interrupted"
                self._finish(key, row)
            elif row.paused:
                self._finish(key, row)

    def _end(self, key: str, state: State, error: str | None, cause: str | None) -> None:
        row = self._display.progress.rows[key]
        if row.state != "running":
            return
        row.state, row.error, row.paused = state, error, self._thaws and state == "stopped"
        if not row.paused:
            self._display.progress.finished_here += 1
            self._finish(key, row)
        if state == "interrupted":
            pass
        elif self._write(lambda: self._trials.end(key, state=state, error=error, cause=cause)):
            if (reason := self._alike.ended(state=state, error=error, cause=cause)) is not None:
                self._on_alike(reason)
        else:
            row.state, row.error, row.paused = "interrupted", UNRECORDED, False
        self._ended.add(key)
        if (group := self._groups.pop(key, None)) is not None:
            self._releaser.ended(group)
        self._display.ended(key)
        self._on_end(key)

    def on_step_begin(self, iteration: int, trials: Any, **info: Any) -> None:
        self._releaser.look(awaited=len(self._values) - len(self._ended) > len(self._groups))
        self._on_step()

    def _finish(self, key: str, row: TrialRow) -> None:
        self._tracker.finish(
            key, state=row.state, error=row.error, retries=row.retries, score=row.score, epochs=row.epoch
        )


def last_line(trial: Any) -> str:
    """The last line of what a trial raised, or that its process died."""
    from ray.exceptions import RayActorError

    error = trial.get_error()
    if error is None or isinstance(error, RayActorError):
        return "its process died: killed, or out of memory"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
