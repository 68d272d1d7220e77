"""Where one comparison stands: interval and kind after every look, from paired differences of typical runs."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.stats.confirm.error_schedule import Schedule
from analysis.stats.confirm.group_sequential import Array

Kind = Literal["better", "worse", "equivalent", "undecided"]
ROUNDING = 1e-9
"""Differences whose relative spread is not above this are called the same."""


@dataclass(frozen=True, kw_only=True)
class ComparisonState:
    """``estimate`` is the mean difference and the centre of the interval ``low`` to ``high``, the repeated confidence
    interval of the last look; before the first look the interval is infinite.

    Where an extension has begun, looks are strict again, and a look that decides nothing takes back nothing either: if
    the end of the plan, or of an earlier extension, decided and the mean of all pairs lies in its interval, then that
    look stands. The intervals of all looks hold at once, so that any of them may be given.
    """

    pairs: int
    """At the look that stands."""
    estimate: float
    """NaN without a pair."""
    low: float
    high: float
    t: float
    """t statistic at the look that counts; 0 before the first look, and where the spread is not known."""
    kind: Kind
    earlier: tuple[int, Kind] | None
    """The last earlier look, as number of pairs, at which the comparison was decided, and how; None where it never
    was."""


def standing(differences: Array, schedule: Schedule, delta: float) -> ComparisonState:
    """State of a comparison, from its paired differences (pairs,) in the order of their seeds."""
    pairs = len(differences)
    estimate = float(differences.mean()) if pairs else math.nan
    means, errors = _by_look(differences, schedule.first)
    if not len(means):
        return ComparisonState(
            pairs=pairs, estimate=estimate, low=-math.inf, high=math.inf, t=0.0, kind="undecided", earlier=None
        )
    halves = schedule.limits(len(means)) * errors
    kinds = [kind_of(mean - half, mean + half, delta) for mean, half in zip(means, halves, strict=True)]
    at, centre = len(kinds) - 1, estimate
    if kinds[at] == "undecided":
        ends = [stop - schedule.first for stop in reversed(schedule.stops) if stop < pairs]
        for end in ends:
            if kinds[end] != "undecided" and abs(estimate - means[end]) <= halves[end]:
                at, centre = end, float(means[end])
                break
    decided = [(schedule.first + i, kind) for i, kind in enumerate(kinds[:at]) if kind != "undecided"]
    return ComparisonState(
        pairs=schedule.first + at,
        estimate=centre,
        low=centre - float(halves[at]),
        high=centre + float(halves[at]),
        t=0.0 if math.isinf(errors[at]) else float(means[at] / errors[at]),
        kind=kinds[at],
        earlier=decided[-1] if decided else None,
    )


def kind_of(low: float, high: float, delta: float) -> Kind:
    """What an interval shows."""
    if -delta < low and high < delta:
        return "equivalent"
    if low > 0:
        return "better"
    return "worse" if high < 0 else "undecided"


def _by_look(differences: Array, first: int) -> tuple[Array, Array]:
    """Means and their standard errors after the first ``first``, ``first`` + 1, ... differences; an infinite standard
    error where the differences are all the same, since their spread is then not known."""
    if len(differences) < first:
        return np.empty(0), np.empty(0)
    n = np.arange(1, len(differences) + 1)
    moved = differences - differences[0]
    means = moved.cumsum() / n
    squares = (moved**2).cumsum() - n * means**2
    errors = np.sqrt(np.maximum(squares, 0)[first - 1 :] / (n[first - 1 :] - 1) / n[first - 1 :])
    alike = np.maximum.accumulate(np.abs(moved))[first - 1 :] <= ROUNDING * np.abs(differences).max()
    return means[first - 1 :] + differences[0], np.where(alike, np.inf, errors)
