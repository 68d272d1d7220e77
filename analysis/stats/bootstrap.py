"""Percentile bootstrap intervals."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95


def interval(draws: NDArray[np.float64], *, level: float = LEVEL) -> tuple[float, float]:
    """The central ``level`` of bootstrap draws."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def resampled(
    count: int, statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]], *, repeats: int, seed: int = 0
) -> NDArray[np.float64]:
    """``statistic`` of row numbers drawn with replacement, (repeats, ...)."""
    rng = np.random.default_rng(seed)
    return np.stack([statistic(rng.integers(count, size=count)) for _ in range(repeats)])
