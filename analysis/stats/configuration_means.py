"""Configurations that ran at full budget, each with the interval of its mean over seeds."""

import math
from dataclasses import dataclass
from statistics import stdev

from analysis.stats.best import Standing
from analysis.stats.distributions import student
from analysis.stats.seed_sources import mean_error
from analysis.stats.study import StudyTrials, Trial

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Result:
    """One configuration, with a run for every seed. ``low`` and ``high``: the 95 % t interval of its mean over seeds;
    None with one seed."""

    trials: tuple[Trial, ...]
    mean: float
    spread: float | None
    low: float | None
    high: float | None

    @property
    def seeds(self) -> int:
        """Different ones."""
        return len({trial.chance for trial in self.trials})


def results(study: StudyTrials) -> list[Result]:
    """All configurations that ran all epochs, in the order of `analysis.stats.best`, the best first."""
    return [result_of(study, one) for one in study.ranked if one.full]


def result_of(study: StudyTrials, one: Standing) -> Result:
    """A configuration with the interval of its mean."""
    trials, scores = study.runs_of(one), {run.seed: run.score for run in one.trials}
    spread = stdev(scores.values()) if len(scores) > 1 else None
    if (error := mean_error(scores)) is None:
        return Result(trials=trials, mean=one.score, spread=spread, low=None, high=None)
    half = float(student((1 + LEVEL) / 2, error[1])) * math.sqrt(error[0])
    return Result(trials=trials, mean=one.score, spread=spread, low=one.score - half, high=one.score + half)
