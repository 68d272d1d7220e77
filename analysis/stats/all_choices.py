"""Every value of a choice against every other, as the search happened to try them: observational, not paired.

For choices on which other parameters depend, such as the method, that no surrogate can hold the others equal for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from analysis.stats.study import StudyTrials
from analysis.stats.two_choices import LEAST, LEVEL, Tried, common_seeds, difference, tried
from analysis.units import is_percent

FEWEST = 3
"""Values of a choice from which on it has rivals; of two, a comparison says all."""


@dataclass(frozen=True, kw_only=True)
class Rival:
    """One value. ``difference``: the leader's mean minus this one's, with its interval; None for the leader."""

    value: str
    scores: tuple[float, ...]
    mean: float
    difference: tuple[float, float, float] | None


@dataclass(frozen=True, kw_only=True)
class Rivals:
    """Values of ``name`` with enough trials that have a score after ``epoch`` epochs, the best mean first;
    ``few``: the others, with how many trials each has there; ``failed``: failed trials by value."""

    name: str
    epoch: int
    ranked: tuple[Rival, ...]
    few: tuple[tuple[str, int], ...]
    failed: tuple[tuple[str, int], ...]
    seeds: str

    @property
    def trials(self) -> int:
        """Trials that are compared."""
        return sum(len(one.scores) for one in self.ranked)


def structural(study: StudyTrials) -> list[str]:
    """Choices of `FEWEST` values or more on which other searched parameters depend."""
    depended = {name for dimension in study.space.values() for name in dimension["only_if"] or {}}
    return [name for name in study.parameters if name in depended and len(study.space[name]["choices"] or ()) >= FEWEST]


def rivals(study: StudyTrials, name: str) -> Rivals | None:
    """After that many epochs which most values reached with enough trials; the longest of several. None where fewer
    than two values have enough: `LEAST` configurations, or as many seeds of each of their configurations.

    Intervals of the differences are those of `analysis.stats.two_choices.difference`, by Bonferroni over all pairs of
    values, since the leader is chosen by the same scores. That holds for values tried evenly; a search that learns sets
    equal values apart more often (`benchmarks/rivals.py` measures both).
    """
    values = study.space[name]["choices"]
    found = max(
        (([tried(study, name, value, epoch) for value in values], epoch) for epoch in study.budgets()),
        key=lambda pair: (sum(map(_enough, pair[0])), pair[1]),
        default=None,
    )
    if found is None or sum(map(_enough, found[0])) < 2:
        return None
    arms, epoch = found
    enough = [(str(value), arm) for value, arm in zip(values, arms, strict=True) if _enough(arm)]
    enough.sort(key=lambda pair: -study.sign * mean_score(pair[1]))
    behind = differences([arm for _, arm in enough], furthest=100.0 if is_percent(study.metric) else math.inf)
    return Rivals(
        name=name,
        epoch=epoch,
        ranked=tuple(
            Rival(value=value, scores=_scores(arm), mean=mean_score(arm), difference=difference)
            for (value, arm), difference in zip(enough, [None, *behind], strict=True)
        ),
        few=tuple((str(value), len(_scores(arm))) for value, arm in zip(values, arms, strict=True) if not _enough(arm)),
        failed=_failed(study, name, values),
        seeds=study.seeds_each(),
    )


def differences(arms: Sequence[Tried], *, furthest: float) -> list[tuple[float, float, float]]:
    """Of the first arm's mean from the others', with their intervals, cut off at what a difference can be; as wide as
    that where there is none."""
    level = 1 - (1 - LEVEL) / math.comb(len(arms), 2)
    found = []
    for other in arms[1:]:
        one = difference(arms[0], other, level=level)
        if one is None:
            found.append((mean_score(arms[0]) - mean_score(other), -furthest, furthest))
        else:
            found.append((one.value, max(one.low, -furthest), min(one.high, furthest)))
    return found


def mean_score(arm: Tried) -> float:
    """The mean over configurations, each the mean of its seeds."""
    return fmean(fmean(seeds.values()) for seeds in arm.values())


def _enough(arm: Tried) -> bool:
    return len(arm) >= LEAST or bool(common_seeds(arm, arm))


def _scores(arm: Tried) -> tuple[float, ...]:
    return tuple(score for seeds in arm.values() for score in seeds.values())


def _failed(study: StudyTrials, name: str, values: Sequence[Any]) -> tuple[tuple[str, int], ...]:
    counts = [
        (str(value), sum(trial.state == "failed" and trial.values.get(name) == value for trial in study.trials))
        for value in values
    ]
    return tuple(one for one in counts if one[1])
