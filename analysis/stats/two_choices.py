"""One choice against another, as the search happened to try them: observed, and no experiment.

The trials of a sampler that learns are no even draws: it tries more of what did well, so that the means compare what
tuning made of each choice. Intervals say how far the means could be apart by chance, for scores that are normal.
"""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.stats.best import Settings
from analysis.stats.distributions import student
from analysis.stats.seed_sources import mean_error
from analysis.stats.sensitivity.anova_basis import Floats
from analysis.stats.study import StudyTrials

LEAST = 3
"""Configurations of each choice, or shared seeds, below which no interval is given."""
LEVEL = 0.95

Tried = Mapping[Settings, Mapping[Hashable, float]]
"""Scores of one choice after so many epochs, by configuration (without that choice) and seed."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """mean(first) - mean(second) with its interval. ``seeds``: of how many seeds' differences it is the mean; 0: the
    means are of configurations, and the interval is Welch's."""

    value: float
    low: float
    high: float
    seeds: int

    @property
    def decided(self) -> bool:
        """Whether the interval excludes 0."""
        return not self.low <= 0 <= self.high


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Scores of two choices of ``name`` after ``epoch`` epochs. ``difference``: first - second; None with fewer than
    `LEAST` configurations of either and fewer than `LEAST` seeds that both ran with, or where no score differs.
    ``configurations``: of each."""

    name: str
    first: str
    second: str
    epoch: int
    first_scores: tuple[float, ...]
    second_scores: tuple[float, ...]
    configurations: tuple[int, int]
    difference: Difference | None
    seeds: str


def compare(study: StudyTrials, name: str, *, first: str, second: str) -> Comparison | None:
    """At the largest budget at which the two have an interval, else the largest at which both have a trial; None where
    they have none in common."""
    shared: Comparison | None = None
    for epoch in sorted(study.budgets(), reverse=True):
        one, other = tried(study, name, first, epoch), tried(study, name, second, epoch)
        if not one or not other:
            continue
        found = Comparison(
            name=name,
            first=first,
            second=second,
            epoch=epoch,
            first_scores=tuple(scores_of(study, name, first, epoch)),
            second_scores=tuple(scores_of(study, name, second, epoch)),
            configurations=(len(one), len(other)),
            difference=difference(one, other),
            seeds=study.seeds_each(),
        )
        if found.difference is not None:
            return found
        shared = shared or found
    return shared


def scores_of(study: StudyTrials, name: str, choice: Any, epoch: int) -> list[float]:
    """Scores after ``epoch`` epochs of all trials with this choice, also of those that were stopped or failed later."""
    return [trial.curve[epoch] for trial in study.trials if epoch in trial.curve and trial.values.get(name) == choice]


def tried(study: StudyTrials, name: str, choice: Any, epoch: int) -> dict[Settings, dict[Hashable, float]]:
    """The same by configuration and seed."""
    found: dict[Settings, dict[Hashable, float]] = {}
    for trial in study.trials:
        if epoch in trial.curve and trial.values.get(name) == choice:
            settings = tuple(one for one in trial.settings if one[0] != name)
            found.setdefault(settings, {})[trial.chance] = trial.curve[epoch]
    return found


def difference(first: Tried, second: Tried, *, level: float = LEVEL) -> Difference | None:
    """Of two choices with its interval; None where configurations and seeds are too few, or where no score differs.

    Where both ran all their configurations with the same `LEAST` seeds or more, as a grid over seeds does, it is the
    mean over seeds of what the two differ by with that seed, with Student's t over the seeds: runs that share a seed
    are alike, and the configurations are those that were asked about. Else the means are of configurations, each the
    mean of its seeds, and the interval is Welch's.
    """
    if seeds := common_seeds(first, second):
        gaps = {seed: _mean_of(first, seed) - _mean_of(second, seed) for seed in seeds}
        error = mean_error(gaps)
        return error and _interval(float(np.mean(list(gaps.values()))), *error, level, len(gaps))
    means = [np.array([float(np.mean(list(one.values()))) for one in arm.values()]) for arm in (first, second)]
    return None if min(map(len, means)) < LEAST else welch(*means, level=level)


def common_seeds(first: Tried, second: Tried) -> list[Hashable]:
    """Seeds with which every configuration of both ran; none where there are fewer than `LEAST`."""
    every = [set(one) for arm in (first, second) for one in arm.values()]
    found = sorted(set.intersection(*every), key=str) if every else []
    return found if len(found) >= LEAST else []


def welch(first: Floats, second: Floats, *, level: float = LEVEL) -> Difference | None:
    """Difference of the means of two independent samples (Welch 1947); None where neither varies."""
    parts = np.array([one.var(ddof=1) / len(one) for one in (first, second)])
    if not parts.sum():
        return None
    freedom = float(parts.sum() ** 2 / (parts**2 / [len(first) - 1, len(second) - 1]).sum())
    return _interval(float(first.mean() - second.mean()), float(parts.sum()), freedom, level, 0)


def _interval(value: float, variance: float, freedom: float, level: float, seeds: int) -> Difference | None:
    if not variance:
        return None
    reach = float(student((1 + level) / 2, freedom)) * math.sqrt(variance)
    return Difference(value=value, low=value - reach, high=value + reach, seeds=seeds)


def _mean_of(arm: Tried, seed: Hashable) -> float:
    return float(np.mean([one[seed] for one in arm.values()]))
