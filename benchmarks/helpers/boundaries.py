"""Boundaries that spend all of the error on one plan, of several shapes: the rules beside which ours is measured."""

from functools import lru_cache

from analysis.stats.confirm.group_sequential import SHAPE, boundary, crossing


@lru_cache(maxsize=256)
def critical_values(first: int, last: int, error: float, shape: float = SHAPE) -> tuple[float, ...]:
    """c_n for n = first, ..., last: |t_n| exceeds c_n at any of these looks with probability ``error``.

    Args:
        first: pairs at the first look, at least 2.
        last: pairs at the last look.
        error: two-sided, in (0, 1).
        shape: look n is tested at the two-sided normal tail of k · (n / last)^(shape - 1/2), for one k.
    """
    from scipy.optimize import brentq

    k = brentq(lambda k: crossing(boundary(first, last, k, shape), first) - error, 1e-6, 30.0, xtol=1e-6)
    return tuple(float(one) for one in boundary(first, last, k, shape))
