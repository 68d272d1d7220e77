"""What a parameter does to the score at full budget, by the surrogate: curves, maps, choices at equal others.

All are differences. How good the space is as a whole, the surrogate knows less well than its draws say: where most
trials were stopped it leans on those that ran in full, which their early scores chose
(`benchmarks/results/sensitivity_202611.md`).
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.stats.bootstrap import interval
from analysis.stats.sensitivity.anova_basis import Basis, Floats
from analysis.stats.sensitivity.surrogate import Surrogate

POINTS, CELLS = 41, 21


@dataclass(frozen=True, kw_only=True)
class Marginal:
    """Mean score over all other parameters, minus the mean over the space; of a parameter with a condition, where it
    is active. ``places`` (n,) are units of the axis, ``values`` the same in the parameter's own; the curves (n,) hold
    the median and the 95 % interval."""

    name: str
    places: Floats
    values: tuple[Any, ...]
    middle: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, kw_only=True)
class PairMap:
    """Mean score over all other parameters, minus the mean over the space, and its standard deviation, (second, first);
    ``trials`` had both active."""

    first: str
    second: str
    first_values: tuple[Any, ...]
    second_values: tuple[Any, ...]
    difference: Floats
    deviation: Floats
    trials: int


@dataclass(frozen=True, kw_only=True)
class ChoiceEffect:
    """first - second of a categorical parameter at equal others: ``average`` over the space (where the parameter is
    active), and ``at_best``, the others as in the leading configuration; each with its interval. None where the
    leading configuration does not have the parameter. ``trials``: how many had each."""

    name: str
    first: Any
    second: Any
    average: tuple[float, float, float]
    at_best: tuple[float, float, float] | None
    trials: tuple[int, int]


def marginal(surrogate: Surrogate, name: str) -> Marginal:
    """The curve of one parameter."""
    axis = surrogate.basis.axes[surrogate.basis.names.index(name)]
    if axis.choices is not None:
        places = np.arange(len(axis.choices), dtype=float)
    else:
        places = np.linspace(0, 1, POINTS) if axis.cells is None else axis.cells[0]
    draws = differences_along(surrogate, name, places)
    low, middle, high = np.quantile(draws, [0.025, 0.5, 0.975], axis=0)
    values = tuple(axis.value(place) for place in places)
    return Marginal(name=name, places=places, values=values, middle=middle, low=low, high=high)


def differences_along(surrogate: Surrogate, name: str, places: Floats) -> Floats:
    """Mean score over all other parameters at ``places`` (n,) of one, minus the mean over the space, (draws, n)."""
    basis = surrogate.basis
    grid = {basis.names.index(name): places}
    return _differences(surrogate, grid, len(places))


def pair_map(surrogate: Surrogate, first: str, second: str) -> PairMap:
    """The map of two parameters."""
    basis = surrogate.basis
    one, other = basis.names.index(first), basis.names.index(second)
    grids = [_cells(basis, i) for i in (one, other)]
    crossed = np.meshgrid(*grids)
    draws = _differences(surrogate, {one: crossed[0].ravel(), other: crossed[1].ravel()}, crossed[0].size)
    shape = (len(grids[1]), len(grids[0]))
    return PairMap(
        first=first,
        second=second,
        first_values=tuple(basis.axes[one].value(place) for place in grids[0]),
        second_values=tuple(basis.axes[other].value(place) for place in grids[1]),
        difference=draws.mean(axis=0).reshape(shape),
        deviation=draws.std(axis=0).reshape(shape),
        trials=sum(first in trial.values and second in trial.values for trial in surrogate.trials),
    )


def _cells(basis: Basis, index: int) -> Floats:
    axis = basis.axes[index]
    if axis.choices is not None:
        return np.arange(len(axis.choices), dtype=float)
    return np.linspace(0, 1, CELLS) if axis.cells is None else axis.cells[0]


def _differences(surrogate: Surrogate, grid: Mapping[int, Floats], count: int) -> Floats:
    """Terms of the parameters on the grid, and of those that must be set for them to be active, averaged over the
    values that do so; without the level, the mean over the space."""
    basis = surrogate.basis
    conditions: dict[str, tuple[Any, ...]] = {}
    for index in grid:
        conditions |= {
            name: values for name, values in basis.axes[index].conditions.items() if basis.names.index(name) not in grid
        }
    found = np.zeros((len(surrogate.weights), count))
    settings = list(itertools.product(*conditions.values()))
    for setting in settings:
        places = dict(grid)
        for name, value in zip(conditions, setting, strict=True):
            index = basis.names.index(name)
            places[index] = np.full(count, basis.axes[index].unit(value))
        found += _terms_of(surrogate, places, count)
    found /= len(settings)
    return found


def _terms_of(surrogate: Surrogate, places: Mapping[int, Floats], count: int) -> Floats:
    """Sum of the terms of the given parameters alone, (draws, count); a parameter whose condition the others break
    adds nothing."""
    basis = surrogate.basis
    singles = {}
    for index, units in places.items():
        active = np.ones(count, dtype=bool)
        for name, allowed in basis.axes[index].conditions.items():
            parent = basis.names.index(name)
            if parent in places:
                wanted = [basis.axes[parent].unit(value) for value in allowed]
                active &= np.isclose(places[parent][:, None], wanted).any(axis=1)
        singles[index] = basis.single(index, units, active)
    found = np.zeros((len(surrogate.weights), count))
    for term in basis.terms:
        if not set(term.axes) <= set(places):
            continue
        block = singles[term.axes[0]]
        if len(term.axes) == 2:
            block = (block[:, :, None] * singles[term.axes[1]][:, None, :]).reshape(count, -1)
        found += surrogate.weights[:, term.columns] @ block.T
    return found


def choices(surrogate: Surrogate, best: Mapping[str, Any] | None) -> list[ChoiceEffect]:
    """Every pair of choices of every categorical parameter that trials have tried."""
    found = []
    for axis in surrogate.basis.axes:
        if axis.choices is None:
            continue
        counts = [sum(trial.values.get(axis.name) == one for trial in surrogate.trials) for one in axis.choices]
        means = differences_along(surrogate, axis.name, np.arange(len(axis.choices), dtype=float))
        for i, j in itertools.combinations(range(len(axis.choices)), 2):
            if not counts[i] or not counts[j]:
                continue
            at_best = None
            if best is not None and axis.name in best:
                pair = [active(surrogate.basis, {**best, axis.name: axis.choices[k]}) for k in (i, j)]
                scores = surrogate.at(pair)
                at_best = summary(scores[:, 0] - scores[:, 1])
            found.append(
                ChoiceEffect(
                    name=axis.name,
                    first=axis.choices[i],
                    second=axis.choices[j],
                    average=summary(means[:, i] - means[:, j]),
                    at_best=at_best,
                    trials=(counts[i], counts[j]),
                )
            )
    return found


def active(basis: Basis, values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` without parameters whose conditions they break. One that they switch on and do not hold counts with
    its mean over its range."""
    found = {name: values[name] for name in basis.names if name in values}
    for axis in basis.axes:
        if any(name not in values or values[name] not in allowed for name, allowed in axis.conditions.items()):
            found.pop(axis.name, None)
    return found


def summary(draws: NDArray[np.float64]) -> tuple[float, float, float]:
    """The median of draws, and their 95 % interval."""
    return float(np.median(draws)), *interval(draws)
