"""Variance components of a crossed design with one run in each cell, all factors random."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Source = tuple[str, ...]
"""One factor, or several: their interaction."""


def components(scores: NDArray[np.float64], factors: Sequence[str]) -> dict[Source, float]:
    """What each factor and each interaction adds to the variance of a run, by the method of moments: unbiased, and for
    that negative now and then. The interaction of all factors holds everything that repeating a cell would show.

    For a source S of the factors, E[mean square of S] is the sum over all sources T that contain S of the component of
    T times the number of runs that share a level of T (Searle, Casella and McCulloch 1992, chapter 4).

    Args:
        scores: one axis for each factor, at least two levels each.
        factors: their names, in the order of the axes.
    """
    axes = range(len(factors))
    sources = [set(chosen) for size in range(1, len(factors) + 1) for chosen in combinations(axes, size)]
    found: dict[frozenset[int], float] = {}
    for source in reversed(sources):
        above = sum(
            value * _runs_per_level(scores.shape, other) for other, value in found.items() if other > frozenset(source)
        )
        mean_square = _mean_square(scores, source)
        found[frozenset(source)] = (mean_square - above) / _runs_per_level(scores.shape, source)
    return {tuple(factors[axis] for axis in sorted(source)): found[frozenset(source)] for source in sources}


def _mean_square(scores: NDArray[np.float64], source: set[int]) -> float:
    """Of the effects of a source: of the cell means over all other factors, what smaller sources do not explain."""
    others = tuple(axis for axis in range(scores.ndim) if axis not in source)
    effect = scores.mean(axis=others, keepdims=True)
    for axis in source:
        effect = effect - effect.mean(axis=axis, keepdims=True)
    degrees = int(np.prod([scores.shape[axis] - 1 for axis in source]))
    return float((effect**2).sum()) * _runs_per_level(scores.shape, source) / degrees


def _runs_per_level(shape: Sequence[int], source: set[int] | frozenset[int]) -> int:
    return int(np.prod([levels for axis, levels in enumerate(shape) if axis not in source]))


def remaining(split: dict[Source, float], *, fixed: Sequence[str]) -> float:
    """The variance of a run when some factors stay as they are, on average over their levels."""
    return sum(value for source, value in split.items() if not set(source) <= set(fixed))
