"""A trial that has been handed out and has not ended: all that becomes of it goes into Optuna's record at once."""

import math
from collections.abc import Mapping

import optuna
from optuna.trial import FrozenTrial, TrialState

from analysis.columns import State
from analysis.stats import constraints
from analysis.stats.constraints import Bounds
from ipix_tune.search.recorded_trials import CAUSE, DATA_STATE, MEASURED, SECOND_SCORE, STOPS, last_scores, unreported

_OPTUNA_STATES: dict[State, TrialState] = {
    "complete": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "infeasible": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class OpenTrial:
    """One open trial.

    Args:
        study: Optuna's study.
        trial: Optuna's trial.
        second_metric: the metric of the second objective; None: there is none.
        bounds: the study's constraints.
    """

    def __init__(self, study: optuna.Study, trial: optuna.Trial, *, second_metric: str | None, bounds: Bounds) -> None:
        self._study, self._trial = study, trial
        self._second_metric, self._bounds = second_metric, bounds

    @property
    def number(self) -> int:
        """Optuna's number of it."""
        return self._trial.number

    @property
    def frozen(self) -> FrozenTrial:
        """What is recorded of it now. Optuna's own way to this copies the whole trial."""
        return self._study._storage.get_trial(self._trial._trial_id)

    def note_stop(self, epoch: int) -> None:
        """Note, before the epoch's score is recorded, that the scheduler stops the trial after it."""
        self._trial.set_user_attr(STOPS, epoch)

    def note_retry(self) -> int:
        """Count one retry; returns how many there were."""
        retries = int(self._trial.user_attrs.get("retries", 0)) + 1
        self._trial.set_user_attr("retries", retries)
        return retries

    def report(self, *, epoch: int, score: float, second_score: float | None) -> bool:
        """One epoch's score, and its value of the second objective. False: it is left as it was, since the epoch is
        known already or the score is no number."""
        if not math.isfinite(score) or epoch in self.frozen.intermediate_values:
            return False
        if second_score is not None and math.isfinite(second_score):
            self._trial.set_user_attr(SECOND_SCORE, [epoch, second_score])
        if self._second_metric is None:
            self._trial.report(score, step=epoch)
        else:  # which report refuses; an epoch's score is the first objective's
            self._study._storage.set_trial_intermediate_value(self._trial._trial_id, epoch, score)
        return True

    def measure(self, metrics: Mapping[str, float], *, last: bool) -> None:
        """Note what an epoch's metrics say of the study's constraints. ``last``: it is the last one of the full
        length."""
        if not (values := constraints.measured(self._bounds, metrics, last=last)):
            return
        noted = self.frozen.user_attrs.get(MEASURED, {})
        known = {name: value for name, (value, _) in noted.items() if name in self._bounds}
        worst = constraints.worse(self._bounds, known, values)
        if worst != known:
            found = {name: [value, constraints.excess(self._bounds[name], value)] for name, value in worst.items()}
            self._trial.set_user_attr(MEASURED, found)

    def end(self, *, state: State, error: str | None, cause: str | None, data_state: str | None) -> None:
        """How the trial ended. One that failed tells the sampler that it failed, not a made-up score. Optuna is told of
        every constraint by how much it was broken, or what was left.

        Args:
            state: as the scheduler has it; a complete trial that lacks an objective's value failed.
            error: why it did not go well.
            cause: what kind of error that was.
            data_state: what the data were then, where they may be the cause.
        """
        frozen = self.frozen
        if state == "complete" and (lacking := unreported(frozen, self._second_metric)) is not None:
            state, error = "failed", f"it reported no {lacking}"
        noted = {"state": state, "error": error, CAUSE: cause, DATA_STATE: data_state}
        for name, value in noted.items():
            if value is not None:
                self._trial.set_user_attr(name, value)
        if state != "failed":
            for name, (_, excess) in frozen.user_attrs.get(MEASURED, {}).items():
                self._trial.set_constraint(name, excess)
        values = last_scores(frozen, self._second_metric) if state == "complete" else None
        self._study.tell(self._trial, values, state=_OPTUNA_STATES[state])
