"""Percentile bootstrap intervals."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

REPEATS = 1000
LEVEL = 0.95


def interval(draws: NDArray[np.float64], *, level: float = LEVEL) -> tuple[float, float]:
    """The central ``level`` of bootstrap draws."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_difference(
    first: NDArray[np.float64], second: NDArray[np.float64], *, repeats: int = REPEATS, seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """mean(first) - mean(second) of two independent samples, and its interval by resampling each."""
    rng = np.random.default_rng(seed)

    def means(sample: NDArray[np.float64]) -> NDArray[np.float64]:
        drawn: NDArray[np.float64] = sample[rng.integers(len(sample), size=(repeats, len(sample)))].mean(axis=1)
        return drawn

    return float(first.mean() - second.mean()), interval(means(first) - means(second))


def resampled(
    count: int, statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]], *, repeats: int, seed: int = 0
) -> NDArray[np.float64]:
    """``statistic`` of row numbers drawn with replacement, (repeats, ...)."""
    rng = np.random.default_rng(seed)
    return np.stack([statistic(rng.integers(count, size=count)) for _ in range(repeats)])
