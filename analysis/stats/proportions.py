"""Exact intervals of a probability from a count, Clopper and Pearson's.

`scipy.stats.binomtest` has the same (a test compares them); scipy.special does it without the 0.6 s that scipy.stats
takes to load.
"""

from scipy import special


def exact_interval(least: int, of: int, *, level: float, most: int | None = None) -> tuple[float, float]:
    """Interval of the probability behind ``least`` of ``of``; (0, 1) where ``of`` is 0.

    Args:
        least: what was counted.
        of: trials.
        level: coverage, in (0, 1).
        most: the count for the upper end where some trials are ties, at least ``least``; None: the same.
    """
    most = least if most is None else most
    tail = (1 - level) / 2
    low = 0.0 if least == 0 else float(special.betaincinv(least, of - least + 1, tail))
    high = 1.0 if most == of else float(special.betaincinv(most + 1, of - most, 1 - tail))
    return low, high
