"""Boundaries of a plan that may be extended: what the error is spent on, and where 0 is excluded.

The plan spends 80 % of the error of a comparison on its looks. 15 % are kept for extensions: the first may spend half
of them, each later one half of what remains. The last 5 % are never spent: they are the margin for scores that are not
normal (skewed, tied, with collapsed runs). Boundaries of an extension's looks come from the joint distribution of all
looks: what is added is the probability of crossing there and not before.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from analysis.stats.confirm.group_sequential import Array, boundary, crossing, normal_reached
from analysis.stats.distributions import normal_above, normal_tail

PLAN, EXTENSIONS = 0.80, 0.15
"""Shares of the error."""
MOST_EXTENDED = 60
"""Seeds of an arm in a plan with its extensions, at most."""
_LEVELS = np.array([1e-6, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.8])
"""Errors between which the p of an extension's look is interpolated, as normal quantiles."""


def share(stage: int) -> float:
    """Share of the error that the plan (stage 0) or its extension number 1, 2, ... spends."""
    return PLAN if stage == 0 else EXTENSIONS / 2**stage


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When one looks, and at what error: family-wise ``error``, shared out evenly over ``comparisons`` (Bonferroni)."""

    first: int
    """Pairs at the first look, at least 2."""
    stops: tuple[int, ...]
    """Pairs at the last look of the plan, and of each extension; increasing."""
    error: float
    comparisons: int = 1

    @property
    def last(self) -> int:
        return self.stops[-1]

    @property
    def each(self) -> float:
        """Error of one comparison, its margin included."""
        return self.error / self.comparisons

    @property
    def next_error(self) -> float:
        """What one comparison could spend in the next extension."""
        return self.each * share(len(self.stops))

    def limits(self, looks: int) -> Array:
        """|t| beyond which 0 is excluded at each of the first ``looks`` looks."""
        if looks <= 0:
            return np.empty(0)
        return np.array(staged(self.first, self.stops, self.each)[:looks])

    def p(self, t: float, pairs: int) -> float:
        """The smallest family-wise error at which the look at ``pairs`` pairs excludes 0; at most 1."""
        reached = float(normal_reached(abs(t), pairs))
        if pairs <= self.stops[0]:
            strictness, tail = _tails(self.first, self.stops[0])
            z = np.interp(reached * math.sqrt(pairs / self.stops[0]), strictness, tail)
            return min(1.0, self.comparisons * float(2 * normal_tail(z)) / PLAN)
        table = _reached(self.first, self.stops)[:, pairs - self.first]
        z = np.interp(reached, table[::-1], normal_above(_LEVELS / 2)[::-1])
        return 1.0 if reached < table[-1] else min(1.0, self.comparisons * float(2 * normal_tail(z)))


@lru_cache(maxsize=256)
def staged(first: int, stops: tuple[int, ...], error: float, precision: float = 1e-6) -> tuple[float, ...]:
    """Boundaries of all looks from ``first`` to the last of ``stops``, at an error of one comparison in (0, 1).

    In each stage they have O'Brien and Fleming's shape, over the looks up to the stage's end; ``precision`` is that of
    the normal quantile at the stage's end.
    """
    from scipy.optimize import brentq

    known = np.empty(0)
    spent = 0.0
    for stage, stop in enumerate(stops):
        spent += error * share(stage)
        begin = first + len(known)

        def missed(k: float, known: Array = known, begin: int = begin, stop: int = stop, spent: float = spent) -> float:
            return crossing(np.concatenate((known, boundary(begin, stop, k))), first) - spent

        k = brentq(missed, 1e-6, 30.0, xtol=precision)
        known = np.concatenate((known, boundary(begin, stop, k)))
    return tuple(float(one) for one in known)


@lru_cache(maxsize=64)
def _tails(first: int, last: int) -> tuple[Array, Array]:
    """For the plan's boundaries with k from 0 to 8: the normal z whose two-sided tail is the probability of crossing,
    nearly linear above 3."""
    k = np.concatenate((np.arange(1e-6, 3, 0.15), np.arange(3, 8.1, 0.5)))
    errors = np.array([crossing(boundary(first, last, one), first) for one in k])
    return k, np.asarray(normal_above(np.maximum(errors, 1e-300) / 2))


@lru_cache(maxsize=32)
def _reached(first: int, stops: tuple[int, ...]) -> Array:
    """(levels, looks): the boundaries at `_LEVELS` as normal quantiles, nearly linear in that of the level."""
    looks = np.arange(first, stops[-1] + 1)
    return np.stack([normal_reached(np.array(staged(first, stops, float(one), 1e-3)), looks) for one in _LEVELS])
