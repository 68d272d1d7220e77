"""A search space as orthonormal functions: what every parameter, and every pair, can add to a score.

On its own scale (log for log kinds) a range is the unit interval with the uniform measure; its functions are Legendre
polynomials, orthonormal and free of a mean. Integers and steps have the polynomials that are orthonormal over their
cells; choices have contrasts over equally likely values. So a function that is a sum of such terms is its own ANOVA
decomposition (Sobol 1993): the variance of a term is the sum of its squared weights.

A parameter with a condition (`only_if`) has its functions where it is active and zero elsewhere; as a variable it is
drawn everywhere, so that all parameters are independent, and what it adds belongs in part to the parameters that
switch it on.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import helmert

Floats = NDArray[np.float64]
DEGREE = 8
"""Highest degree of a range's polynomials."""
CELLS = 60
"""More values of an integer or a step than this count as a continuous range."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One parameter. ``conditions``: the values that each other searched parameter must have for it to be active,
    whole chains of conditions included."""

    name: str
    dimension: dict[str, Any]
    conditions: dict[str, tuple[Any, ...]]

    @property
    def choices(self) -> tuple[Any, ...] | None:
        listed = self.dimension["choices"]
        return None if listed is None else tuple(listed)

    @property
    def log(self) -> bool:
        return str(self.dimension["kind"]).startswith("log")

    @cached_property
    def cells(self) -> tuple[Floats, Floats] | None:
        """Places and shares of the values of an integer or a step on the unit interval; None for a continuous range
        and for choices."""
        step = self.dimension["step"] or (1 if self.dimension["kind"] in ("int", "logint") else None)
        if self.choices is not None or step is None:
            return None
        count = round((self.dimension["high"] - self.dimension["low"]) / step) + 1
        if count > CELLS:
            return None
        edges = self._scaled(self.dimension["low"] + step * (np.arange(count + 1) - 0.5))
        edges = (edges - edges[0]) / (edges[-1] - edges[0])
        return (edges[1:] + edges[:-1]) / 2, np.diff(edges)

    @cached_property
    def count(self) -> int:
        """Functions of this parameter."""
        if self.choices is not None:
            return len(self.choices) - 1
        return DEGREE if self.cells is None else min(DEGREE, len(self.cells[0]) - 1)

    def unit(self, value: Any) -> float:
        """Where a range's value lies between 0 and 1; the position of a choice. Values outside are moved to the end.

        Raises:
            ValueError: the choice is not listed.
        """
        if self.choices is not None:
            place = next((i for i, one in enumerate(self.choices) if _same(one, value)), None)
            if place is None:
                raise ValueError(f"{self.name}: {value!r} is none of {list(self.choices)}")
            return float(place)
        low, high = self._ends
        return min(max((float(self._scaled(np.array(float(value)))) - low) / (high - low), 0.0), 1.0)

    def settled(self, units: Floats) -> Floats:
        """Positions (n,) of the values that :meth:`value` gives at ``units``."""
        if self.choices is not None:
            found: Floats = np.round(units)
            return found
        return np.array([self.unit(self.value(float(one))) for one in units])

    def value(self, unit: float) -> Any:
        """The inverse of :meth:`unit`, on the nearest value of an integer or a step."""
        if self.choices is not None:
            return self.choices[round(unit)]
        low, high = self._ends
        scaled = low + unit * (high - low)
        value = math.exp(scaled) if self.log else scaled
        value = min(max(value, self.dimension["low"]), self.dimension["high"])
        step = self.dimension["step"]
        if step is not None:
            return self.dimension["low"] + round((value - self.dimension["low"]) / step) * step
        return round(value) if self.dimension["kind"] in ("int", "logint") else value

    def holds(self, value: Any) -> bool:
        """Whether the value lies in the space."""
        if self.choices is not None:
            return any(_same(one, value) for one in self.choices)
        return bool(self.dimension["low"] <= value <= self.dimension["high"])

    def functions(self, units: Floats) -> Floats:
        """The functions at positions (n,) of :meth:`unit`, (n, count)."""
        if self.choices is not None:
            contrasts: Floats = math.sqrt(len(self.choices)) * helmert(len(self.choices)).T
            found: Floats = contrasts[np.round(units).astype(int)]
            return found
        if self.cells is None:
            return _legendre(units, self.count)[:, 1:]
        places, shares = self.cells
        weighted = np.sqrt(shares)[:, None] * _legendre(places, self.count)
        orthonormal, upper = np.linalg.qr(weighted)
        table = orthonormal * np.sign(np.diag(upper)) / np.sqrt(shares)[:, None]
        nearest = np.abs(np.subtract.outer(units, places)).argmin(axis=1)
        cells: Floats = table[nearest, 1:]
        return cells

    @property
    def _ends(self) -> tuple[float, float]:
        low, high = self.dimension["low"], self.dimension["high"]
        half = (self.dimension["step"] or (1 if self.dimension["kind"] in ("int", "logint") else 0)) / 2
        return float(self._scaled(np.array(low - half))), float(self._scaled(np.array(high + half)))

    def _scaled(self, value: Floats) -> Floats:
        return np.log(value) if self.log else np.asarray(value, dtype=float)


def _legendre(units: Floats, degree: int) -> Floats:
    """Orthonormal Legendre polynomials of degree 0 to ``degree`` on the unit interval, (n, degree + 1)."""
    raw = np.polynomial.legendre.legvander(2 * np.asarray(units) - 1, degree)
    found: Floats = (raw * np.sqrt(2 * np.arange(degree + 1) + 1)).astype(np.float64)
    return found


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


@dataclass(frozen=True, kw_only=True)
class Term:
    """What one parameter, or a pair, adds. ``columns``: its place among all weights. ``gates``: how likely a draw of
    each conditioning parameter is to switch it on."""

    axes: tuple[int, ...]
    columns: slice
    gates: dict[int, float]

    def shares(self) -> dict[frozenset[int], float]:
        """The variance of the term, per unit of its squared weights, by the set of parameters that it belongs to.

        An indicator with probability p is p plus a function of mean 0 and variance p (1 - p).
        """
        found = {}
        for on in itertools.product((False, True), repeat=len(self.gates)):
            share = math.prod(
                p * (1 - p) if varies else p * p for varies, p in zip(on, self.gates.values(), strict=True)
            )
            if share:
                names = {axis for axis, varies in zip(self.gates, on, strict=True) if varies}
                found[frozenset({*self.axes, *names})] = share
        return found


class Basis:
    """All terms of order 1 and 2 of a search space.

    Args:
        space: dimensions by name, as the tables describe them, without the seed and without names that never vary.
    """

    def __init__(self, space: Mapping[str, dict[str, Any]]) -> None:
        self.axes = tuple(
            Axis(name=name, dimension=dimension, conditions=_conditions(name, space))
            for name, dimension in space.items()
        )
        self.names = tuple(axis.name for axis in self.axes)
        self.terms = tuple(self._terms())

    @property
    def width(self) -> int:
        """Weights of all terms together."""
        return self.terms[-1].columns.stop if self.terms else 0

    def _terms(self) -> list[Term]:
        singles = [(i,) for i in range(len(self.axes))]
        pairs = list(itertools.combinations(range(len(self.axes)), 2))
        found: list[Term] = []
        start = 0
        for chosen in [*singles, *pairs]:
            if len(chosen) == 2 and self._bound(*chosen):
                continue
            gates = self._gates(chosen)
            if 0.0 in gates.values():
                continue
            stop = start + math.prod(self.axes[i].count for i in chosen)
            found.append(Term(axes=chosen, columns=slice(start, stop), gates=gates))
            start = stop
        return found

    def _bound(self, i: int, j: int) -> bool:
        """Whether one of the two switches the other on; their joint effect is the other's own then."""
        first, second = self.axes[i], self.axes[j]
        return first.name in second.conditions or second.name in first.conditions

    def _gates(self, chosen: Sequence[int]) -> dict[int, float]:
        allowed: dict[str, list[Any]] = {}
        for i in chosen:
            for name, values in self.axes[i].conditions.items():
                known = allowed.get(name, list(values))
                allowed[name] = [value for value in known if any(_same(value, other) for other in values)]
        return {self.names.index(name): self._chance(name, values) for name, values in allowed.items()}

    def _chance(self, name: str, values: Sequence[Any]) -> float:
        """How much of a parameter's measure the values have."""
        axis = self.axes[self.names.index(name)]
        if axis.choices is not None:
            return sum(any(_same(one, value) for value in values) for one in axis.choices) / len(axis.choices)
        if axis.cells is None:
            return float(len(values) / (axis.dimension["high"] - axis.dimension["low"] + 1))
        places, shares = axis.cells
        hit = {int(np.abs(places - axis.unit(value)).argmin()) for value in values}
        return float(sum(shares[i] for i in hit))

    def units(self, configs: Sequence[Mapping[str, Any]]) -> tuple[Floats, NDArray[np.bool_]]:
        """Positions and activity of configurations, both (n, axes); an inactive parameter stands at 0."""
        places = np.zeros((len(configs), len(self.axes)))
        active = np.zeros((len(configs), len(self.axes)), dtype=bool)
        for row, values in enumerate(configs):
            for column, axis in enumerate(self.axes):
                if axis.name in values:
                    places[row, column] = axis.unit(values[axis.name])
                    active[row, column] = True
        return places, active

    def places(self, rng: np.random.Generator, count: int) -> Floats:
        """Positions (count, axes) of configurations drawn evenly, those of inactive parameters included."""
        found: Floats = rng.random((count, len(self.axes)))
        for column, axis in enumerate(self.axes):
            if axis.choices is not None:
                found[:, column] = rng.integers(len(axis.choices), size=count)
        return found

    def active(self, places: Floats) -> NDArray[np.bool_]:
        """Which parameters are active at positions (n, axes), given those that they depend on."""
        found = np.ones(places.shape, dtype=bool)
        for column, axis in enumerate(self.axes):
            for name, values in axis.conditions.items():
                parent = self.names.index(name)
                wanted = [self.axes[parent].unit(value) for value in values if self.axes[parent].holds(value)]
                found[:, column] &= np.isin(self.axes[parent].settled(places[:, parent]), wanted)
        return found

    def single(self, axis: int, places: Floats, active: NDArray[np.bool_]) -> Floats:
        """Functions of one parameter, (n, count), zero where it is not active; ``places`` and ``active`` are (n,)."""
        return self.axes[axis].functions(places) * active[:, None]

    def features(self, configs: Sequence[Mapping[str, Any]]) -> Floats:
        """All terms' functions, (n, width)."""
        places, active = self.units(configs)
        singles = [self.single(i, places[:, i], active[:, i]) for i in range(len(self.axes))]
        return self.joined(singles)

    def joined(self, singles: Sequence[Floats]) -> Floats:
        """The same from the functions of every parameter."""
        blocks = []
        for term in self.terms:
            block = singles[term.axes[0]]
            if len(term.axes) == 2:
                block = (block[:, :, None] * singles[term.axes[1]][:, None, :]).reshape(len(block), -1)
            blocks.append(block)
        return np.concatenate(blocks, axis=1)


def _conditions(name: str, space: Mapping[str, dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """Conditions on searched parameters, their own conditions included."""
    found: dict[str, tuple[Any, ...]] = {}
    for parent, wanted in (space[name]["only_if"] or {}).items():
        if parent in space:
            found[parent] = tuple(wanted) if isinstance(wanted, list) else (wanted,)
            found = {**_conditions(parent, space), **found}
    return found
