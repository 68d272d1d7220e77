"""Runs that are lost: those that failed, and those that collapsed far below their arm.

Seeds on few labels have rare, large drops, such as a class that is never learnt. A mean over such runs says little of
either kind, so lost runs are an outcome of their own: they are counted, and differences are those of the others. The
rule looks at the scores of arms and never at a comparison:

    a run has collapsed when it is worse than its arm's (high) median by more than max(5 s, 5 delta),

where s is the noise of all arms together, or the arm's own where that is larger and known from 6 runs or more. The
noise of all is Rousseeuw and Croux's Qn (Alternatives to the median absolute deviation, 1993): 2.2219 times the first
quartile of the distances between any two runs of the same arm. The arm's own is 1.4826 times the median distance from
its median of the runs that are better than it: collapses are on the other side, so that it stays small when up to
half of the runs collapse.

Where more than half of an arm's few runs collapse, its median is itself a collapsed run: with one run in five that
happens to nine runs in 2 % of confirmations, and the arm was called worse by the depth of a collapse. So the median is
that of the best runs alone, where they stand apart: a quarter of the runs, at least two, that a gap of more than
max(3 s, 5 times their own standard deviation, 5 delta) parts from all others. It is 3 s and not 5 s, since s is up to
twice too large then. `benchmarks/results/confirmation_collapses_202611.md` has what 4 and 6 instead of 5 would change.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from analysis.stats.proportions import exact_interval

SPREADS, DELTAS = 5.0, 5.0
"""A collapse is larger than this many standard deviations of the noise, and than this many delta."""
APART = 3.0
"""The gap above the median of an arm most of whose runs collapsed is larger than this many standard deviations."""
FEWEST = 3
"""Runs with a score that an arm needs before one of them can be said to have collapsed."""
OWN = 6
"""Runs with a score from which on an arm's own noise is known well enough."""
QN = 2.2219
"""Makes Qn the standard deviation where scores are normal."""
MAD = 1.4826
"""Makes the median distance from the median the standard deviation where scores are normal."""
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Lost:
    """Lost runs of one arm: the seeds that collapsed, the seeds that failed, and how many runs have ended."""

    collapsed: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()
    runs: int = 0

    @property
    def count(self) -> int:
        return len(self.collapsed) + len(self.failed)

    @property
    def interval(self) -> tuple[float, float]:
        """Exact 95 % interval (Clopper and Pearson) of the share of runs that are lost; (0, 1) without a run."""
        return exact_interval(self.count, self.runs, level=LEVEL)

    @property
    def words(self) -> str:
        """The losses as words, such as: 2 of 10 runs were lost (1 collapsed, 1 failed; 3 to 56 % may)."""
        low, high = self.interval
        if self.count == 0:
            return f"0 of {self.runs} runs were lost (up to {high:.0%} may)".replace("%", " %")
        kinds = [
            f"{len(seeds)} {name}"
            for seeds, name in ((self.collapsed, "collapsed"), (self.failed, "failed"))
            if len(seeds)
        ]
        were = "was" if self.count == 1 else "were"
        return (
            f"{self.count} of {self.runs} runs {were} lost ({', '.join(kinds)}; {100 * low:.0f} to {100 * high:.0f} % "
            "may)"
        )


def noise(scores: Mapping[str, Mapping[int, float]]) -> float:
    """Standard deviation of a run's score within its arm, over all these arms, hardly moved by collapsed runs; 0 where
    no arm has two scores, or where many scores are equal."""
    distances = [
        np.abs(np.subtract.outer(values, values))[np.triu_indices(len(values), 1)]
        for values in (np.array(list(of_arm.values())) for of_arm in scores.values())
    ]
    together = np.concatenate(distances) if distances else np.empty(0)
    return QN * float(np.quantile(together, 0.25)) if len(together) else 0.0


def lost_runs(
    scores: Mapping[str, Mapping[int, float]],
    *,
    delta: float,
    sign: int = 1,
    failed: Collection[tuple[str, int]] = (),
) -> dict[str, Lost]:
    """Of every arm that has a score or a failed run.

    Args:
        scores: by arm and seed, in units of the objective.
        delta: the smallest difference that matters.
        sign: 1 if more is better, -1 if less is.
        failed: runs, arm and seed, that will never have a score.
    """
    shared = noise(scores)
    arms = dict.fromkeys([*scores, *(arm for arm, _ in failed)])
    found = {}
    for arm in arms:
        of_arm = {seed: sign * one for seed, one in scores.get(arm, {}).items()}
        without = tuple(sorted(seed for name, seed in failed if name == arm))
        collapsed: tuple[int, ...] = ()
        if (bound := _bound(of_arm, shared, delta)) is not None:
            collapsed = tuple(sorted(seed for seed, one in of_arm.items() if one < bound))
        found[arm] = Lost(collapsed=collapsed, failed=without, runs=len(of_arm) + len(without))
    return found


def collapse_bound(scores: Mapping[str, Mapping[int, float]], arm: str, *, delta: float, sign: int = 1) -> float | None:
    """The score beyond which a run of ``arm`` has collapsed, in units of the objective; None with fewer than `FEWEST`
    scores of it. The arguments are those of :func:`lost_runs`."""
    bound = _bound({seed: sign * one for seed, one in scores[arm].items()}, noise(scores), delta)
    return None if bound is None else sign * bound


def _bound(of_arm: Mapping[int, float], shared: float, delta: float) -> float | None:
    """Score below which a run has collapsed. More must be better; ``shared`` is the noise of all arms."""
    if len(of_arm) < FEWEST:
        return None
    ranked = sorted(of_arm.values())
    middle = len(ranked) // 2
    for first in range(middle + 1, len(ranked) - max(2, math.ceil(len(ranked) / 4)) + 1):
        best = ranked[first:]
        width = max(APART * shared, SPREADS * float(np.std(best, ddof=1)), DELTAS * delta)
        if best[0] - ranked[first - 1] > width:
            return best[len(best) // 2] - width
    better = np.array(ranked[middle + 1 :])
    own = MAD * float(np.median(better - ranked[middle])) if len(ranked) >= OWN else 0.0
    return ranked[middle] - max(SPREADS * max(shared, own), DELTAS * delta)


def typical_runs(scores: Mapping[str, Mapping[int, float]], lost: Mapping[str, Lost]) -> dict[str, dict[int, float]]:
    """The scores without those of lost runs."""
    return {
        arm: {seed: one for seed, one in of_arm.items() if seed not in lost[arm].collapsed}
        for arm, of_arm in scores.items()
    }
