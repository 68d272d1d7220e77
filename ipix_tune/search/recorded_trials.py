"""Optuna's trials as a study's trials: which is which, and what is noted with them."""

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from analysis.columns import State
from ipix_tune.search.trial_record import TrialRecord

STOPS = "stops"
"""User attribute of a trial: the epoch at which the scheduler stops it."""
SECOND_SCORE = "against"
"""The name of the attribute in the record, which earlier versions wrote too."""
"""User attribute of a trial: the last epoch with a value of the second objective, and that value."""
AGAIN = "again"
"""User attribute of a trial that failed and is offered again: the number of the trial that it takes the place of. It
has that trial's key, and so its folder and its checkpoints."""
MEASURED = "measured"
"""User attribute of a trial: by constrained metric, the value that was nearest to breaking its constraint or broke it
most, and its excess (`analysis.stats.constraints`)."""
SOURCE = "source"
"""System attribute of a trial: which of the sources of `ipix_tune.search.prior_sampler` proposed it."""
CAUSE, DATA_STATE = "cause", "data_state"
"""User attributes of a trial that failed: the kind of error (`ipix_tune.search.repeated_error`), and what the data were
then."""


def latest_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Every trial as it is now, in the order of their keys: of one that was offered again its latest part."""
    return latest_of(study.get_trials(deepcopy=False))


def latest_of(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """:func:`latest_trials` of a study's trials."""
    latest = {original_number(trial): trial for trial in trials}
    return [latest[number] for number in sorted(latest)]


def original_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Every trial as it was first asked for."""
    return [trial for trial in study.get_trials(deepcopy=False) if AGAIN not in trial.user_attrs]


def asked_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials of :func:`original_trials` that have been handed out."""
    return [trial for trial in original_trials(study) if trial.state != TrialState.WAITING]


def original_number(trial: FrozenTrial) -> int:
    """The number of Optuna's trial, or of the one that it takes the place of."""
    return int(trial.user_attrs.get(AGAIN, trial.number))


def key_of(trial: FrozenTrial, letter: str) -> str:
    """t0000, t0001, ..."""
    return f"{letter}{original_number(trial):04d}"


def record_of(trial: FrozenTrial, letter: str) -> TrialRecord:
    """What is known of a trial, under its key."""
    attributes: Mapping[str, Any] = trial.user_attrs
    measured, second_score = attributes.get(SECOND_SCORE, (None, None))
    state: State = "running" if trial.state == TrialState.RUNNING else attributes.get("state", "failed")
    return TrialRecord(
        key=key_of(trial, letter),
        values=dict(trial.params),
        scores=dict(trial.intermediate_values),
        state=state,
        error=attributes.get("error") if state in ("failed", "infeasible") else None,
        retries=int(attributes.get("retries", 0)),
        second_score=second_score if measured == max(trial.intermediate_values, default=None) else None,
        stops=attributes.get(STOPS),
        cause=attributes.get(CAUSE),
        data_state=attributes.get(DATA_STATE),
        source=trial.system_attrs.get(SOURCE),
        again=AGAIN in attributes,
        measured={name: (value, excess) for name, (value, excess) in attributes.get(MEASURED, {}).items()},
    )


def begun_again(trial: FrozenTrial) -> FrozenTrial:
    """The trial that takes the place of one that ended: running, with all that the other reported."""
    kept = (SECOND_SCORE, MEASURED, "retries")
    attributes = {name: trial.user_attrs[name] for name in kept if name in trial.user_attrs}
    return optuna.trial.create_trial(
        state=TrialState.RUNNING,
        params=trial.params,
        distributions=trial.distributions,
        intermediate_values=trial.intermediate_values,
        user_attrs={**attributes, AGAIN: original_number(trial)},
        system_attrs=trial.system_attrs,
    )


def unreported(trial: FrozenTrial, second_metric: str | None) -> str | None:
    """Which objective a trial that ran all its epochs did not report."""
    scores = trial.intermediate_values
    if not scores:
        return "score"
    if second_metric is not None and trial.user_attrs.get(SECOND_SCORE, (None,))[0] != max(scores):
        return f"{second_metric} in its last epoch"
    return None


def last_scores(trial: FrozenTrial, second_metric: str | None) -> list[float]:
    """The values of the objectives after the last epoch of a trial that reported them."""
    scores = trial.intermediate_values
    return [scores[max(scores)], *([] if second_metric is None else [trial.user_attrs[SECOND_SCORE][1]])]


def unended_values(study: optuna.Study) -> list[dict[str, Any]]:
    """The values of every trial that is running, or waits to be handed out."""
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [trial.system_attrs.get("fixed_params", {}) for trial in waiting] + [trial.params for trial in running]
