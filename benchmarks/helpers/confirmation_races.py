"""Many races at once: what `analysis.stats.confirm.seed_race.progress` does one by one, on arrays over repetitions.

A test races the same scores both ways. `before` is the rule of commit 76f6436, for comparison: no run is lost, the
whole error is spent on the plan, and intervals are intersected over the looks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.stats.confirm import lost_runs
from analysis.stats.confirm.race_plan import RacePlan
from benchmarks.helpers.boundaries import critical_values

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Races:
    """Where the races ended. (repetitions, comparisons): ``kind`` is 1 for better, -1 worse, 0 equivalent, 9 undecided.
    (repetitions, arms, seeds): what was run, and which of it collapsed."""

    kind: NDArray[np.int_]
    low: Array
    high: Array
    estimate: Array
    seen: Mask
    lost: Mask


def races(plan: RacePlan, scores: Array, *, before: bool = False, spreads: float = lost_runs.SPREADS) -> Races:
    """Race to the end on ``scores``, (repetitions, arms, seeds), more being better; the arms are those of the plan.

    What stands of a plan while it is extended (`analysis.stats.confirm.standing`) is not in it: extend plans of one
    comparison.

    Args:
        before: by the rule of commit 76f6436.
        spreads: what `analysis.stats.confirm.lost_runs.SPREADS` is; infinite: no run collapses.
    """
    repetitions, _, seeds = scores.shape
    numbers = [(plan.arms.index(arm), plan.arms.index(other)) for arm, other in plan.comparisons]
    first = plan.first_seeds
    limits = np.full(plan.seeds + 1, np.inf)
    if before:
        limits[first:] = critical_values(first, plan.seeds, plan.error / len(numbers))
    else:
        limits[first:] = plan.schedule.limits(plan.seeds)
    seen = np.zeros(scores.shape, dtype=bool)
    shape = (repetitions, len(numbers))
    low, high = np.full(shape, -np.inf), np.full(shape, np.inf)
    kept = np.array([arm in plan.kept for arm in plan.arms])
    while True:
        lost = np.zeros_like(seen) if before or np.isinf(spreads) else collapsed(scores, seen, plan.delta, spreads)
        now = [_interval(scores, seen & ~lost, pair, limits, first) for pair in numbers]
        lows, highs = np.stack([one[0] for one in now], axis=1), np.stack([one[1] for one in now], axis=1)
        estimate = np.stack([one[2] for one in now], axis=1)
        if before:
            low, high = np.maximum(low, lows), np.minimum(high, highs)
            apart = low > high
            low, high = np.where(apart, lows, low), np.where(apart, highs, high)
        else:
            low, high = lows, highs
        kind = np.where(low > 0, 1, np.where(high < 0, -1, 9))
        kind = np.where((low > -plan.delta) & (high < plan.delta), 0, kind)
        add = _wanted(kind, numbers, seen, kept, first, seeds)
        if not add.any():
            return Races(kind=kind, low=low, high=high, estimate=estimate, seen=seen, lost=lost)
        seen |= add


def collapsed(scores: Array, seen: Mask, delta: float, spreads: float = lost_runs.SPREADS) -> Mask:
    """(repetitions, arms, seeds): by `analysis.stats.confirm.lost_runs.lost_runs`, of the runs that were seen."""
    one, other = np.triu_indices(scores.shape[2], 1)
    distances = np.where(seen[:, :, one] & seen[:, :, other], np.abs(scores[:, :, one] - scores[:, :, other]), np.inf)
    shared = lost_runs.QN * _first_quartile(distances.reshape(len(scores), -1))[:, None]
    runs = seen.sum(axis=2)
    ranked = np.sort(np.where(seen, scores, np.inf), axis=2)
    middle = np.minimum(runs // 2, scores.shape[2] - 1)
    typical = np.take_along_axis(ranked, middle[:, :, None], axis=2)[:, :, 0]
    own = np.where(runs >= lost_runs.OWN, lost_runs.MAD * _median_above(ranked, middle, typical), 0)
    width = np.maximum(spreads * np.maximum(shared, own), lost_runs.DELTAS * delta)
    apart = np.zeros(runs.shape, dtype=bool)
    for first in range(lost_runs.FEWEST, scores.shape[2] - 1):
        best = runs - first
        may = ~apart & (first > middle) & (best >= 2) & (4 * best >= runs)
        if may.any():
            gap, spread, median = _best_runs(ranked, runs, first)
            wide = np.maximum(np.maximum(lost_runs.APART * shared, spreads * spread), lost_runs.DELTAS * delta)
            now = may & (gap > wide)
            typical, width, apart = np.where(now, median, typical), np.where(now, wide, width), apart | now
    return np.asarray(seen & (runs >= lost_runs.FEWEST)[:, :, None] & (scores < (typical - width)[:, :, None]))


def _best_runs(ranked: Array, runs: NDArray[np.int_], first: int) -> tuple[Array, Array, Array]:
    """(repetitions, arms), of the runs ranked from ``first`` on: their gap to the others, their standard deviation and
    their high median. Where there are fewer than two, of no use."""
    index = np.arange(ranked.shape[2])
    known = (index >= first) & (index < runs[:, :, None])
    best, count = np.where(known, ranked, 0), np.maximum(known.sum(axis=2), 2)
    around = np.where(known, best - (best.sum(axis=2) / count)[:, :, None], 0)
    at = np.clip(first + (runs - first) // 2, 0, ranked.shape[2] - 1)
    middle = np.take_along_axis(ranked, at[:, :, None], axis=2)[:, :, 0]
    gap = np.where(known[:, :, first], best[:, :, first], -np.inf) - ranked[:, :, first - 1]
    return gap, np.sqrt((around**2).sum(axis=2) / (count - 1)), middle


def _median_above(ranked: Array, middle: NDArray[np.int_], typical: Array) -> Array:
    """(repetitions, arms): the median distance to ``typical`` of the runs ranked above ``middle``; runs that were not
    seen are infinite, and the last."""
    index = np.arange(ranked.shape[2])
    known = (index > middle[:, :, None]) & np.isfinite(ranked)
    above = np.where(known, np.where(known, ranked, 0) - np.where(known, typical[:, :, None], 0), np.nan)
    empty = np.isnan(above).all(axis=2)
    above[empty] = 0
    return np.asarray(np.nanmedian(above, axis=2))


def _first_quartile(distances: Array) -> Array:
    """Along the last axis, of what is finite; 0 where nothing is."""
    ranked = np.sort(distances, axis=-1)
    count = np.isfinite(ranked).sum(axis=-1)
    at = np.maximum(count - 1, 0) * 0.25
    below = np.floor(at).astype(int)
    above = np.minimum(below + 1, np.maximum(count - 1, 0))
    ends = [np.take_along_axis(ranked, index[..., None], axis=-1)[..., 0] for index in (below, above)]
    share = at - below
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, ends[0] * (1 - share) + ends[1] * share, 0)


def _interval(
    scores: Array, usable: Mask, pair: tuple[int, int], limits: Array, first: int
) -> tuple[Array, Array, Array]:
    """Low, high and estimate, (repetitions,)."""
    keep = usable[:, pair[0]] & usable[:, pair[1]]
    differences = np.where(keep, scores[:, pair[0]] - scores[:, pair[1]], 0)
    pairs = keep.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = differences.sum(axis=1) / pairs
        squares = np.where(keep, (differences - mean[:, None]) ** 2, 0).sum(axis=1)
        alike = squares <= 1e-18 * np.abs(differences).max(axis=1) ** 2
        half = limits[pairs] * np.where(alike, np.inf, np.sqrt(squares / (pairs - 1) / pairs))
    half = np.where(pairs < first, np.inf, half)
    mean = np.where(pairs > 0, mean, 0)
    return mean - half, mean + half, mean


def _wanted(
    kind: NDArray[np.int_], numbers: list[tuple[int, int]], seen: Mask, kept: Mask, first: int, seeds: int
) -> Mask:
    """(repetitions, arms, seeds): what to run next."""
    repetitions, arms, _ = seen.shape
    worse, racing = np.zeros((repetitions, arms), dtype=bool), np.zeros((repetitions, arms), dtype=bool)
    for index, (one, other) in enumerate(numbers):
        worse[:, one] |= kind[:, index] == -1
        worse[:, other] |= kind[:, index] == 1
    dropped = worse & ~kept
    for index, (one, other) in enumerate(numbers):
        open_ = (kind[:, index] == 9) & ~dropped[:, one] & ~dropped[:, other]
        racing[:, one] |= open_
        racing[:, other] |= open_
    numbered = np.arange(seeds)
    begun = np.where(seen & racing[:, :, None], numbered + 1, 0).max(axis=(1, 2))
    rounds = np.maximum(begun, first)
    missing = racing[:, :, None] & ~seen & (numbered < rounds[:, None, None])
    rounds = np.minimum(rounds + ~missing.any(axis=(1, 2)), seeds)
    return np.asarray(racing[:, :, None] & ~seen & (numbered < rounds[:, None, None]))
