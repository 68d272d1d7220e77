"""Every value of a choice against every other, as the search happened to try them: observational, not paired.

For choices on which other parameters depend, such as the method, that no surrogate can hold the others equal for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analysis.stats.bootstrap import LEVEL
from analysis.stats.compare import LEAST, scores_of
from analysis.stats.study import Study
from analysis.wording import is_percent

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
    """Values of ``name`` with `LEAST` trials or more that have a score after ``epoch`` epochs, the best mean first;
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


def structural(study: Study) -> list[str]:
    """Choices of `FEWEST` values or more on which other searched parameters depend."""
    depended = {name for dimension in study.space.values() for name in dimension["only_if"] or {}}
    return [name for name in study.parameters if name in depended and len(study.space[name]["choices"] or ()) >= FEWEST]


def rivals(study: Study, name: str) -> Rivals | None:
    """After that many epochs which most values reached with `LEAST` trials; the longest of several. None where fewer
    than two values have that many trials.

    Intervals of the differences are Welch's, by Bonferroni over all pairs of values, so that the leader may be chosen
    by the same scores. `benchmarks/rivals.py` measures how often a leader is wrongly apart.
    """
    values = study.space[name]["choices"]
    found = max(
        (([scores_of(study, name, value, epoch) for value in values], epoch) for epoch in study.budgets()),
        key=lambda pair: (sum(len(scores) >= LEAST for scores in pair[0]), pair[1]),
        default=None,
    )
    if found is None or sum(len(scores) >= LEAST for scores in found[0]) < 2:
        return None
    scores, epoch = found
    enough = [(str(value), own) for value, own in zip(values, scores, strict=True) if len(own) >= LEAST]
    enough.sort(key=lambda pair: -study.sign * sum(pair[1]) / len(pair[1]))
    behind = differences([own for _, own in enough], furthest=100.0 if is_percent(study.metric) else math.inf)
    return Rivals(
        name=name,
        epoch=epoch,
        ranked=tuple(
            Rival(value=value, scores=tuple(own), mean=sum(own) / len(own), difference=difference)
            for (value, own), difference in zip(enough, [None, *behind], strict=True)
        ),
        few=tuple((str(value), len(own)) for value, own in zip(values, scores, strict=True) if len(own) < LEAST),
        failed=_failed(study, name, values),
        seeds=study.seeds_each(),
    )


def differences(groups: Sequence[Sequence[float]], *, furthest: float) -> list[tuple[float, float, float]]:
    """Of the first group's mean from the others', with their intervals, cut off at what a difference can be; as wide
    as that where neither group varies."""
    from scipy.stats import ttest_ind

    level = 1 - (1 - LEVEL) / math.comb(len(groups), 2)
    first, found = groups[0], []
    for other in groups[1:]:
        difference = sum(first) / len(first) - sum(other) / len(other)
        low, high = -furthest, furthest
        if len({*first}) > 1 or len({*other}) > 1:
            low, high = ttest_ind(first, other, equal_var=False).confidence_interval(level)
        found.append((difference, max(float(low), -furthest), min(float(high), furthest)))
    return found


def _failed(study: Study, name: str, values: Sequence[Any]) -> tuple[tuple[str, int], ...]:
    counts = [
        (str(value), sum(trial.state == "failed" and trial.values.get(name) == value for trial in study.trials))
        for value in values
    ]
    return tuple(one for one in counts if one[1])
