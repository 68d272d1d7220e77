"""Shares of the variance of the score at full budget over the search space, from draws of the surrogate.

First-order and total indices (Sobol 1993; Homma and Saltelli 1996), and Shapley effects (Owen 2014), which split each
interaction evenly among its parameters and add up to 1. All are sums over terms that are orthogonal, so that they are
exact for each draw: nothing is integrated numerically.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analysis.stats.bootstrap import interval
from analysis.stats.sensitivity.anova_basis import Basis, Floats
from analysis.stats.sensitivity.surrogate import Surrogate

NEGLIGIBLE = 0.05
"""A parameter whose total index is below this does nothing that a study would show."""
SURE = 0.9
"""Chance of being below `NEGLIGIBLE` from which on a parameter is called dead."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share of the variance, with its interval rounded outwards to whole percent."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Indices:
    """By parameter. ``negligible``: the chance that the total index is at most `NEGLIGIBLE`. ``deviation``: standard
    deviation of the score over the space, with its interval."""

    first: dict[str, Share]
    total: dict[str, Share]
    shapley: dict[str, Share]
    negligible: dict[str, float]
    pairs: dict[tuple[str, str], Share]
    deviation: tuple[float, float, float]

    def verdict(self, name: str) -> str:
        """``matters``, ``dead`` or ``open``."""
        if self.negligible[name] >= SURE:
            return "dead"
        return "matters" if self.total[name].low > 0 else "open"


def indices(surrogate: Surrogate) -> Indices:
    """Indices of all parameters that the surrogate knows, by Shapley effect, largest first."""
    basis = surrogate.basis
    pieces, table = variances(basis, surrogate.weights)
    total = table.sum(axis=1, keepdims=True)
    shares = table / np.where(total > 0, total, 1.0)

    def drawn(weight: Callable[[frozenset[int], int], float]) -> Floats:
        found: Floats = shares @ np.array([[weight(piece, i) for i in range(len(basis.names))] for piece in pieces])
        return found

    def measured(draws: Floats) -> dict[str, Share]:
        return {name: share(column) for name, column in zip(basis.names, draws.T, strict=True)}

    shapley = measured(drawn(lambda piece, i: (i in piece) / len(piece)))
    order = sorted(basis.names, key=lambda name: -shapley[name].value)
    first = measured(drawn(lambda piece, i: float(piece == {i})))
    total_draws = drawn(lambda piece, i: float(i in piece))
    totals = measured(total_draws)
    below = (total_draws <= NEGLIGIBLE).mean(axis=0)
    spread = np.sqrt(total[:, 0])
    return Indices(
        first={name: first[name] for name in order},
        total={name: totals[name] for name in order},
        shapley={name: shapley[name] for name in order},
        negligible=dict(zip(basis.names, below.tolist(), strict=True)),
        pairs=_pairs(basis, pieces, shares),
        deviation=(float(np.median(spread)), *interval(spread)),
    )


def variances(basis: Basis, weights: Floats) -> tuple[list[frozenset[int]], Floats]:
    """Sets of parameters, and the variance that belongs to each of them, (draws, sets)."""
    found: dict[frozenset[int], Floats] = {}
    for term in basis.terms:
        squares = (weights[:, term.columns] ** 2).sum(axis=1)
        for piece, part in term.shares().items():
            found[piece] = found.get(piece, np.zeros(len(weights))) + part * squares
    return list(found), np.stack(list(found.values()), axis=1)


def share(draws: Floats) -> Share:
    """The mean of draws, and their interval rounded outwards to whole percent."""
    low, high = interval(draws)
    return Share(value=float(draws.mean()), low=math.floor(100 * low) / 100, high=min(math.ceil(100 * high), 100) / 100)


def _pairs(basis: Basis, pieces: list[frozenset[int]], shares: Floats) -> dict[tuple[str, str], Share]:
    """Interactions of two parameters, largest first."""
    found = {}
    for piece, column in zip(pieces, shares.T, strict=True):
        if len(piece) == 2:
            first, second = sorted(piece)
            found[basis.names[first], basis.names[second]] = share(column)
    return dict(sorted(found.items(), key=lambda item: -item[1].value))
