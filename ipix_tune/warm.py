"""Warm start: the sampler learns from the trials of earlier studies, which stay no trials of this one.

Scores of two studies are never compared: what TPE is shown of a trial is its place within its own study.
`docs/search.md` has the rules.
"""

import copy
import json
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from ipix_tune.config import StudyConfig, Value
from ipix_tune.curves import recorded_values
from ipix_tune.dimensions import contains, describe_range, nearest_value
from ipix_tune.leaves import get_dotted
from ipix_tune.space import SearchSpace
from ipix_tune.view import view
from trainers.config import ScheduleConfig
from trainers.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from analysis.stats.study import Study as Recorded
    from analysis.stats.study import Trial

USED = ("complete", "stopped")
"""States of trials that say something about their configuration."""


FORGOTTEN = 4
"""Ended trials of a study after which it is shown half of the earlier ones."""


class WarmStartError(UserError):
    """An earlier study cannot be learned from."""


@dataclass(frozen=True, kw_only=True)
class Past:
    """A trial of an earlier study. ``place`` is where its last score stands in that study, see :func:`place`; ``epoch``
    that of its last score, stretched to this study's full length."""

    values: dict[str, Value]
    complete: bool
    epoch: int
    place: float


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What an earlier study gives: the trials used, and how many were left out for which reason."""

    folder: str
    used: list[Past]
    left_out: Counter[str]

    def describe(self) -> str:
        """`studies/old: 12 of 14 trials used; left out: 2 failed`."""
        trials = len(self.used) + self.left_out.total()
        without = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
        return f"{self.folder}: {len(self.used)} of {trials} trials used" + (
            f"; left out: {without}" if without else ""
        )


def past_trials(study: StudyConfig, space: SearchSpace) -> list[FrozenTrial]:
    """The trials that the study's sampler learns from, as Optuna's; none where it is not TPE.

    Raises:
        WarmStartError: see :func:`earlier_studies`.
    """
    if study.sampler.name != "tpe":
        return []
    return list(_foreign([past for earlier in earlier_studies(study, space) for past in earlier.used], space))


def earlier_studies(study: StudyConfig, space: SearchSpace) -> list[Earlier]:
    """What every study under `warm_start` gives.

    Raises:
        WarmStartError: a folder is not there or has no tables, its trials were not scored by this study's metric, or
            none of them can be used.
    """
    return [_earlier(folder, study, space) for folder in study.warm_start]


def _even_distances(length: int, count: int) -> list[int]:
    """``count`` of ``length`` indices, both ends among them where there are two or more."""
    if count < 2:
        return [length - 1] * count
    return [round(step * (length - 1) / (count - 1)) for step in range(count)]


def describe_warm_start(study: StudyConfig, space: SearchSpace) -> list[str]:
    """A line for every earlier study.

    Raises:
        WarmStartError: see :func:`earlier_studies`.
    """
    unused = "" if study.sampler.name == "tpe" else f"; {study.sampler.name} does not use them"
    return [earlier.describe() + unused for earlier in earlier_studies(study, space)]


def _earlier(folder: str, study: StudyConfig, space: SearchSpace) -> Earlier:
    from analysis.stats.study import from_tables

    found = _tables(folder)
    metric = study.objective.metric
    if metric not in found.history.column_names:
        known = sorted(set(found.history.column_names) - {"run_id", "epoch", "time"})
        raise WarmStartError(
            f"warm_start: {folder}: the table history has no column {metric} (objective.metric)"
            f"{did_you_mean(metric, known)}; it has {', '.join(known) or 'no metric'}"
        )
    recorded = from_tables(found, metric=metric)
    configs = {row["run_id"]: json.loads(row["config"]) for row in found.runs.to_pylist()}
    stretch = _full_length(study) / recorded.max_epochs
    used: list[Past] = []
    left_out: Counter[str] = Counter()
    for trial in recorded.trials:
        values = recorded_values(space, configs[trial.run_id])
        if (reason := _unusable(trial, values, space)) is not None:
            left_out[reason] += 1
            continue
        last = max(trial.curve)
        used.append(
            Past(
                values={name: nearest_value(space.dimensions[name], value) for name, value in values.items()},
                complete=trial.state == "complete",
                epoch=max(1, round(last * stretch)),
                place=_place(recorded, trial, last),
            )
        )
    earlier = Earlier(folder=folder, used=used, left_out=left_out)
    if not used:
        raise WarmStartError(f"warm_start: {earlier.describe()}; leave this folder out")
    return earlier


def _tables(folder: str) -> Any:
    from analysis import tables
    from analysis.errors import LogsError

    place = Path(folder)
    if not place.is_dir():
        raise WarmStartError(f"warm_start: {folder}: there is no such folder; give an earlier study's, with tables/")
    try:
        return tables.load(place.parent if (place / tables.RUNS).is_file() else place)
    except LogsError as error:
        raise WarmStartError(f"warm_start: {error}") from None


def _full_length(study: StudyConfig) -> int:
    epochs = get_dotted(study.trainer, "schedule.epochs")
    return int(ScheduleConfig().epochs if epochs is None else epochs)


def _unusable(trial: "Trial", values: Mapping[str, Value], space: SearchSpace) -> str | None:
    """Why a trial says nothing about this study's space, or None."""
    if trial.state not in USED:
        return trial.state
    if not trial.curve:
        return "without a score"
    if trial.state == "complete" and trial.epochs not in trial.curve:
        return "without a score of the last epoch"
    for name in space.active(values):
        dimension = space.dimensions[name]
        if name not in values:
            return f"without {name}"
        if not contains(dimension, values[name]):
            return f"with {name} outside {describe_range(dimension)}"
    return None


def _place(recorded: "Recorded", trial: "Trial", epoch: int) -> float:
    """Among the complete trials where it is one, else among those with a score at the same epoch."""
    pool = recorded.complete if trial.state == "complete" else recorded.trials
    return place(trial.curve[epoch], sorted(other.curve[epoch] for other in pool if epoch in other.curve))


def place(score: float, ordered: Sequence[float]) -> float:
    """Where ``score`` stands among all scores, itself included, lowest first, between 0 and 1; equal ones share the
    middle of their places. A single score stands at 0.5: whether it is a good one is not known."""
    return (bisect_left(ordered, score) + bisect_right(ordered, score)) / (2 * len(ordered))


def _foreign(past: Sequence[Past], space: SearchSpace) -> Iterator[FrozenTrial]:
    """As Optuna's trials, numbered below 0, so that TPE takes them for the oldest."""
    distributions = space.fixed_distributions()
    ordered = sorted(past, key=lambda one: (one.complete, one.epoch, one.place))
    for number, one in enumerate(ordered, -len(past)):
        trial = create_trial(
            state=TrialState.COMPLETE if one.complete else TrialState.PRUNED,
            value=one.place if one.complete else None,
            params=dict(one.values),
            distributions={name: distributions[name] for name in one.values},
            intermediate_values={one.epoch: one.place},
        )
        trial.number = number
        yield trial


def placed(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials with places in the stead of scores: of a complete one among the complete ones, of a pruned one among
    all that have a score at its last step."""
    final = sorted(trial.value for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None)
    at_step: dict[int, list[float]] = {}
    for trial in trials:
        for step, score in trial.intermediate_values.items():
            insort(at_step.setdefault(step, []), score)
    shown = []
    for trial in trials:
        changed = copy.copy(trial)
        if trial.state == TrialState.COMPLETE and trial.value is not None:
            changed.value = place(trial.value, final)
        elif trial.state == TrialState.PRUNED and trial.intermediate_values:
            step = max(trial.intermediate_values)
            changed.intermediate_values = {step: place(trial.intermediate_values[step], at_step[step])}
        shown.append(changed)
    return shown


class WarmSampler(BaseSampler):
    """Shows ``model`` the trials of earlier studies before those of this one, and of both the places of their scores.

    Args:
        model: what learns from them.
        past: the trials of earlier studies, as :func:`past_trials` gives them.
    """

    def __init__(self, model: BaseSampler, past: Sequence[FrozenTrial]) -> None:
        self._model = model
        self._past = list(past)

    def _warm(self, study: Study) -> Study:
        return view(study, lambda trials: [*self._remembered(trials), *placed(trials)])

    def _remembered(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Fewer the more trials of this study have ended, at even distances from the lowest place to the highest."""
        ended = sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
        count = round(len(self._past) / (1 + ended / FORGOTTEN))
        return [self._past[index] for index in _even_distances(len(self._past), count)]

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._model.infer_relative_search_space(self._warm(study), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._model.sample_relative(self._warm(study), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._model.sample_independent(self._warm(study), trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._model.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._model.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._model.reseed_rng()
