"""Variance components of a crossed design with one run in each cell, all factors random."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from analysis.stats.distributions import chi_squared

Source = tuple[str, ...]
"""One factor, or several: their interaction."""
Floats = NDArray[np.float64]

DRAWS = 5_000


def sources(factors: Sequence[str]) -> list[Source]:
    """Every factor, and every interaction of some of them."""
    return [chosen for size in range(1, len(factors) + 1) for chosen in combinations(factors, size)]


def components(scores: Floats, factors: Sequence[str]) -> dict[Source, float]:
    """What each factor and each interaction adds to the variance of a run, by the method of moments: unbiased, and for
    that negative now and then. The interaction of all factors holds everything that repeating a cell would show.

    Args:
        scores: one axis for each factor, at least two levels each.
        factors: their names, in the order of the axes.
    """
    squares = {source: np.array(square) for source, (square, _) in mean_squares(scores, factors).items()}
    return {source: float(value) for source, value in _solved(squares, _levels(scores, factors)).items()}


def component_draws(scores: Floats, factors: Sequence[str], *, draws: int = DRAWS) -> dict[Source, Floats]:
    """What the scores say of each component, as draws (draws,) of its generalized pivotal quantity for normal effects:
    every mean square's expectation is its sum of squares over a draw of chi squared with its degrees of freedom
    (Weerahandi 1993). Quantiles of a component, of a sum of components or of a ratio of sums are interval limits. Draws
    may be negative. They are the same in every call.

    Args:
        scores: as for :func:`components`.
        factors: as for :func:`components`.
        draws: how many.
    """
    rng = np.random.default_rng(0)
    expected = {
        source: square * freedom / rng.chisquare(freedom, draws)
        for source, (square, freedom) in mean_squares(scores, factors).items()
    }
    return _solved(expected, _levels(scores, factors))


def sum_interval(
    scores: Floats, factors: Sequence[str], terms: Sequence[Source], *, level: float
) -> tuple[float, float]:
    """Of a sum of components that is a sum of positive multiples of mean squares, such as the variance of a run: the
    interval of Graybill and Wang (1980), for normal effects.

    Args:
        scores: as for :func:`components`.
        factors: as for :func:`components`.
        terms: the components.
        level: of the interval, such as 0.95.
    """
    squares, every = mean_squares(scores, factors), sources(factors)
    one_of_each = dict(zip(every, np.eye(len(every)), strict=True))
    weights = np.sum([_solved(one_of_each, _levels(scores, factors))[term] for term in terms], axis=0)
    parts = [(weight * squares[source][0], squares[source][1]) for weight, source in zip(weights, every, strict=True)]
    value = sum(part for part, _ in parts)
    down, up = (
        math.sqrt(sum((part * (freedom / chi_squared(at, freedom) - 1)) ** 2 for part, freedom in parts))
        for at in ((1 + level) / 2, (1 - level) / 2)
    )
    return value - down, value + up


def mean_squares(scores: Floats, factors: Sequence[str]) -> dict[Source, tuple[float, int]]:
    """Of each factor and each interaction the mean square and its degrees of freedom.

    Args:
        scores: as for :func:`components`.
        factors: as for :func:`components`.
    """
    found = {}
    for source in sources(factors):
        axes = [factors.index(factor) for factor in source]
        others = tuple(axis for axis in range(scores.ndim) if axis not in axes)
        effect = scores.mean(axis=others, keepdims=True)
        for axis in axes:
            effect = effect - effect.mean(axis=axis, keepdims=True)
        freedom = int(np.prod([scores.shape[axis] - 1 for axis in axes]))
        runs_each = scores.size // effect.size
        found[source] = (float((effect**2).sum()) * runs_each / freedom, freedom)
    return found


def remaining(split: Mapping[Source, float], *, fixed: Sequence[str]) -> float:
    """The variance of a run when some factors stay as they are, on average over their levels."""
    return sum(value for source, value in split.items() if not set(source) <= set(fixed))


def _solved(squares: Mapping[Source, Floats], levels: Mapping[str, int]) -> dict[Source, Floats]:
    """Components of expected mean squares: that of a source S is the sum over all sources T that contain S of the
    component of T times the number of runs that share a level of T (Searle, Casella and McCulloch 1992, chapter 4)."""
    found: dict[Source, Floats] = {}
    for source in reversed(list(squares)):
        left = squares[source]
        for other, value in found.items():
            if set(other) > set(source):
                left = left - value * _runs_per_level(other, levels)
        found[source] = left / _runs_per_level(source, levels)
    return {source: found[source] for source in squares}


def _levels(scores: Floats, factors: Sequence[str]) -> dict[str, int]:
    return dict(zip(factors, scores.shape, strict=True))


def _runs_per_level(source: Source, levels: Mapping[str, int]) -> int:
    return int(np.prod([count for factor, count in levels.items() if factor not in source]))
