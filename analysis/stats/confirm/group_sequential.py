"""Repeated confidence intervals of a mean of paired differences, exact at every look for normal differences.

Jennison and Turnbull, Group Sequential Methods (2000), chapter 9: the intervals mean ± c_n · s / √n at the looks
n = first, ..., last cover the mean at all looks at once with probability 1 - error. The boundaries c_n are usually
found from the normal limit; with 3 to 10 seeds that is far off, so here they are found from the joint distribution of
the t statistics. That is possible because under normality it holds no unknown: with S_n the sum and Q_n the sum of
squares of the first n differences (mean 0), u_n = S_n / √Q_n is a Markov chain whatever the standard deviation,

    u_n = u_{n-1} √(1 - v²) + v,   v = x_n / √Q_n independent of the past, (1 + v) / 2 ~ Beta((n-1)/2, (n-1)/2),

since the direction of (x_1, ..., x_n) is uniform on the sphere; and t_n = u_n √((n - 1) / (n - u_n²)).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from analysis.stats.distributions import normal_tail, student_above

Array = NDArray[np.float64]

SHAPE = 0.0
"""Of Wang and Tsiatis: 0.5 tests at the same level at every look (Pocock), 0 at hardly any early (O'Brien-Fleming)."""
_NODES = 257


def _panels(panels: int, each: int) -> tuple[Array, Array]:
    """Nodes and weights on [-1, 1], Gauss and Legendre's in each panel, since what is integrated has kinks."""
    nodes, weights = np.polynomial.legendre.leggauss(each)
    starts = np.linspace(-1, 1, panels, endpoint=False)
    return (starts[:, None] + (nodes + 1) / panels).ravel(), np.tile(weights / panels, panels)


_ABSCISSAE, _WEIGHTS = _panels(8, 12)


def normal_reached(t: Any, pairs: Any) -> Any:
    """The normal quantile whose tail is that of ``t`` >= 0 at so many pairs; float or array."""
    return -special.ndtri(special.stdtr(pairs - 1, -t))


def crossing(critical: Array, first: int) -> float:
    """Probability that |t_n| exceeds ``critical`` at any look n = first, first + 1, ... when the mean is 0."""
    looks = np.arange(first, first + len(critical))
    limits = np.sqrt(looks / (1 + (looks - 1) / critical / critical))
    later = np.zeros(_NODES)
    for n, limit, beyond in zip(looks[-2::-1], limits[-2::-1], limits[:0:-1], strict=True):
        later = _crossing_after(np.sqrt(n) * np.sin(_angles(n, limit)), beyond, later, n + 1)
    edge = np.arcsin(min(limits[0] / np.sqrt(first), 1.0))
    inside = _integral(np.array([0.0]), np.array([edge]), np.array([0.0]), np.sqrt(first), limits[0], later, first - 1)
    return float(np.clip(2 * (1 - _angle_below(np.array([edge]), first - 1)) + 2 * inside, 0.0, 1.0)[0])


def boundary(begin: int, last: int, k: float, shape: float = SHAPE) -> Array:
    """|t| at the looks ``begin``, ..., ``last`` whose two-sided tails are those of k · (n / last)^(shape - 1/2) in the
    normal distribution."""
    looks = np.arange(begin, last + 1)
    tails = normal_tail(k * (looks / last) ** (shape - 0.5))
    return np.asarray(student_above(tails, looks - 1), dtype=np.float64)


def _crossing_after(u: Array, limit: float, later: Array, n: int) -> Array:
    """Probability of crossing at look n or after, by u_{n-1}; ``later``: the same after n, on a grid of [0, limit].

    With v = sin(angle), u_n = √(1 + u²) sin(angle + tilt), tilt = arctan(u): inside the limit between -edge and edge of
    the sine, and again beyond pi - edge, where a single huge difference makes t small.
    """
    tilt, reach = np.arctan(u), np.sqrt(1 + u**2)
    edge = np.arcsin(np.minimum(limit / reach, 1.0))
    low = np.maximum(-edge - tilt, -np.pi / 2)
    high = edge - tilt
    again = np.clip(np.pi - edge - tilt, high, np.pi / 2)
    outside = 1 - (_angle_below(high, n - 1) - _angle_below(low, n - 1)) - (1 - _angle_below(again, n - 1))
    result = outside + _integral(low, high, tilt, reach, limit, later, n - 1)
    back = again < np.pi / 2
    result[back] += _integral(again[back], np.pi / 2, tilt[back], reach[back], limit, later, n - 1)
    return np.asarray(result)


def _integral(
    low: Array, high: Array | float, tilt: Array, reach: Array | float, limit: float, later: Array, power: int
) -> Array:
    """Integral of ``later`` at |reach · sin(angle + tilt)| over the angles from low to high."""
    half = (high - low)[:, None] / 2
    angles = low[:, None] + half * (1 + _ABSCISSAE)
    u = np.abs(np.asarray(reach).reshape(-1, 1) * np.sin(angles + tilt[:, None]))
    root = np.sqrt(power + 1)
    values = np.interp(np.arcsin(np.minimum(u / root, 1.0)), _angles(power + 1, limit), later)
    density = np.cos(angles) ** (power - 1) / special.beta(0.5, power / 2)
    return np.asarray((values * density * half) @ _WEIGHTS)


def _angles(n: int, limit: float) -> Array:
    """The grid of look n: even in arcsin(u / √n), up to the limit."""
    return np.linspace(0, np.arcsin(min(limit / np.sqrt(n), 1.0)), _NODES)


def _angle_below(angle: Array, power: int) -> Array:
    """Distribution function of the angle, whose density is proportional to cos^(power - 1)."""
    return np.asarray(special.betainc(power / 2, power / 2, (1 + np.sin(angle)) / 2))
