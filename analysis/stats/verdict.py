"""One comparison of two arms over paired seeds, and what may be said of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from analysis.stats.quantiles import student_above
from analysis.stats.sequential import Array, critical_values, p_value

Kind = Literal["better", "worse", "equivalent", "undecided"]
MOST_NEEDED = 1000
"""No more seeds than this are ever said to be needed; None stands for more."""
ROUNDING = 1e-9
"""Differences whose relative spread is not above this are called the same."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """``arm`` against ``other``. Differences are counted so that above 0 ``arm`` is the better one, whether the
    objective is maximised or minimised."""

    arm: str
    other: str
    pairs: int
    """Seeds that both arms have a score of."""
    effect: float
    """Mean paired difference, in units of the objective; NaN without a pair."""
    low: float
    high: float
    """The interval: those of all comparisons of the plan cover their true differences, at every look at once, with
    probability 1 - error. Infinite before the first look."""
    kind: Kind
    seeds_needed: int | None
    """Of an undecided one: about how many more pairs would settle it if the true effect and spread were those seen;
    None where that cannot be said, or is more than `MOST_NEEDED`. Of the others None."""
    p: float
    """Adjusted for the looks and for all comparisons of the plan: the smallest family-wise error at which 0 would be
    outside the interval."""
    finding: str
    """The verdict in a few words, without its figures."""
    words: str
    """The verdict as a sentence for a reader of the paper, with effect, interval, n and test."""

    @property
    def decided(self) -> bool:
        return self.kind != "undecided"


def paired_differences(scores: Mapping[str, Mapping[int, float]], arm: str, other: str, *, sign: int) -> Array:
    """sign · (arm - other), (pairs,) float64, of the seeds that both have, in the order of the seeds."""
    first, second = scores.get(arm, {}), scores.get(other, {})
    return np.array([sign * (first[seed] - second[seed]) for seed in sorted(first.keys() & second.keys())])


def compare(
    arm: str,
    other: str,
    differences: Array,
    *,
    first: int,
    last: int,
    error: float,
    comparisons: int,
    delta: float,
) -> Verdict:
    """The verdict on paired differences, (pairs,), in the order in which they came.

    Args:
        first: pairs at the first look.
        last: pairs at the last.
        error: family-wise.
        comparisons: in the family; the error is shared out evenly (Bonferroni).
        delta: the smallest difference that matters.
    """
    each = error / comparisons
    pairs = len(differences)
    effect = float(differences.mean()) if pairs else math.nan
    means, spreads = _by_look(differences, first)
    halves = np.array(critical_values(first, last, each)[: len(means)]) * spreads
    low, high = _intersection(means - halves, means + halves)
    kind = _kind(low, high, delta)
    p = min(1.0, comparisons * p_value(_t(means, spreads), first, last))
    needed = _seeds_needed(differences, nominal=each, delta=delta) if kind == "undecided" else None
    if pairs < first:
        words = finding = f"{arm} against {other}: undecided: {pairs} paired seeds, the first look is at {first}"
    else:
        finding = _finding(arm, other, kind, low, high, needed, delta)
        words = f"{finding} ({_figures(effect, low, high, pairs, p, error)})"
    return Verdict(
        arm=arm, other=other, pairs=pairs, effect=effect, low=low, high=high, kind=kind, seeds_needed=needed, p=p,
        finding=finding, words=words,
    )  # fmt: skip


def _by_look(differences: Array, first: int) -> tuple[Array, Array]:
    """Means and their standard errors after the first ``first``, ``first`` + 1, ... differences; an infinite standard
    error where the differences are all the same, since their spread is then not known."""
    if len(differences) < first:
        return np.empty(0), np.empty(0)
    n = np.arange(1, len(differences) + 1)
    moved = differences - differences[0]
    means = moved.cumsum() / n
    squares = (moved**2).cumsum() - n * means**2
    spreads = np.sqrt(np.maximum(squares, 0)[first - 1 :] / (n[first - 1 :] - 1) / n[first - 1 :])
    alike = np.maximum.accumulate(np.abs(moved))[first - 1 :] <= ROUNDING * np.abs(differences).max()
    return means[first - 1 :] + differences[0], np.where(alike, np.inf, spreads)


def _t(means: Array, spreads: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(np.isinf(spreads), 0.0, means / spreads))


def _intersection(lows: Array, highs: Array) -> tuple[float, float]:
    """Of the intervals of all looks so far: they cover together. Where they have nothing in common, which happens at
    most as often as the error allows, the last one."""
    if not len(lows):
        return -math.inf, math.inf
    low, high = float(lows.max()), float(highs.min())
    return (low, high) if low <= high else (float(lows[-1]), float(highs[-1]))


def _kind(low: float, high: float, delta: float) -> Kind:
    if -delta < low and high < delta:
        return "equivalent"
    if low > 0:
        return "better"
    return "worse" if high < 0 else "undecided"


def _seeds_needed(differences: Array, *, nominal: float, delta: float) -> int | None:
    """More pairs until an interval of one look at error ``nominal``, with the effect and the spread seen so far,
    excludes 0 or lies within delta."""
    pairs = len(differences)
    spread = float(differences.std(ddof=1)) if pairs > 1 else 0.0
    effect = abs(float(differences.mean())) if pairs else 0.0
    if spread <= ROUNDING * effect:
        return None
    halves = _half_widths(nominal, MOST_NEEDED + 50)
    total = int(np.searchsorted(-halves, -max(effect, delta - effect) / spread, side="right"))
    needed = max(total - pairs, 1)
    return needed if needed <= MOST_NEEDED else None


@lru_cache(maxsize=64)
def _half_widths(nominal: float, most: int) -> Array:
    """Of intervals of one look, in standard deviations, by number of pairs, (most + 1,); infinite below 2."""
    found = np.full(most + 1, np.inf)
    pairs = np.arange(2, most + 1)
    found[2:] = student_above(nominal / 2, pairs - 1) / np.sqrt(pairs)
    return found


def _figures(effect: float, low: float, high: float, pairs: int, p: float, error: float) -> str:
    interval = "no interval" if math.isinf(low) else f"{1 - error:.0%} interval {low:+.2f} to {high:+.2f}"
    return (
        f"mean difference {effect:+.2f}, {interval}, {pairs} paired seeds, adjusted p {p_shown(p)}; "
        "group-sequential paired t-test"
    )


def _finding(arm: str, other: str, kind: Kind, low: float, high: float, needed: int | None, delta: float) -> str:
    if kind == "equivalent":
        side = f", {arm} being the {'better' if low > 0 else 'worse'} one" if low > 0 or high < 0 else ""
        return f"{arm} and {other} are equivalent within {delta:g}{side}"
    if kind == "undecided":
        if math.isinf(low):
            return f"{arm} against {other}: undecided: all differences are the same, so their spread is not known"
        more = f"more than {MOST_NEEDED}" if needed is None else f"about {needed}"
        return f"{arm} against {other}: undecided: {more} more seed{'s' * (needed != 1)} would settle it"
    least = low if kind == "better" else -high
    if least >= delta:
        return f"{arm} is {kind} than {other} by at least {delta:g}"
    return f"{arm} is {kind} than {other}, by at least {least:.2g}; at least {delta:g} is not shown"


def p_shown(p: float) -> str:
    """To three places."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
