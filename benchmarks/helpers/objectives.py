"""Objectives whose sensitivity is known, as learning curves for `ipix_tune.study.simulation.simulator.Simulation`.

An objective is a sum of products of functions of one parameter, f(x) = sum_k prod_i h_ki(x_i). Then the means, the
marginals and the variance of every set of parameters are products of integrals over one parameter (Sobol 1993).
"""

import itertools
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ipix_tune.config.dimension import same, to_unit
from ipix_tune.config.dimension_config import Dimension
from ipix_tune.study.simulation.curve import Curve
from ipix_tune.trainer.resources import Value

Floats = NDArray[np.float64]
Factor = Callable[[Floats], Floats]
"""A function of the unit interval for a range, of the positions for a choice."""

EPOCHS = 27
TOP, SPREAD, GAP = 60.0, 1.5, 25.0
"""In points of mIoU: the mean at the end, its standard deviation over the space, and how much training gains."""
RUN, JITTER = 0.4, 0.3
"""Standard deviations of what a seed does to a whole run, and to one epoch: 0.5 together, as published seeds differ."""
DROP = (5.0, 10.0)
"""Points that a collapsed run loses, evenly between the two."""
NODES = 4000


@dataclass(frozen=True, kw_only=True)
class Objective:
    """``terms``: each a factor by parameter; one that is missing is 1. ``pace``: the parameter that makes curves slow
    or fast. ``dead``: the one that does nothing at the end."""

    name: str
    search: dict[str, Dimension]
    terms: tuple[Mapping[str, Factor], ...]
    pace: str
    dead: str

    def raw(self, places: Mapping[str, Floats]) -> Floats:
        """f, on positions by parameter that broadcast; a parameter that is missing counts as inactive."""
        found: Floats = np.zeros(())
        for term in self.terms:
            product: Floats = np.ones(())
            for name, factor in term.items():
                product = product * (factor(places[name]) if name in places else 0.0)
            found = found + product
        return found

    def score(self, values: Mapping[str, Value]) -> float:
        """At the end, without noise."""
        places = {name: np.array(self.place(name, value)) for name, value in values.items()}
        for name in self.search.keys() - places.keys():
            places[name] = np.array(0.5)
        return self.scaled(float(self.raw(places)))

    def scaled(self, raw: float) -> float:
        return TOP + SPREAD * (raw - self.mean) / self.deviation

    def place(self, name: str, value: Value) -> float:
        dimension = self.search[name]
        if dimension.choice is not None:
            return float(next(i for i, one in enumerate(dimension.choice) if same(one, value)))
        assert isinstance(value, int | float)
        return to_unit(dimension, value)

    def nodes(self, name: str) -> Floats:
        """Midpoints of a parameter's measure."""
        choices = self.search[name].choice
        return np.arange(len(choices), dtype=float) if choices is not None else (np.arange(NODES) + 0.5) / NODES

    @cached_property
    def _tables(self) -> dict[str, Floats]:
        """Factors by term on a parameter's nodes, (terms, nodes)."""
        return {
            name: np.stack([term[name](nodes) if name in term else np.ones(len(nodes)) for term in self.terms])
            for name in self.search
            for nodes in [self.nodes(name)]
        }

    @cached_property
    def mean(self) -> float:
        return float(np.prod([table.mean(axis=1) for table in self._tables.values()], axis=0).sum())

    @cached_property
    def variances(self) -> dict[frozenset[str], float]:
        """Of f, by set of parameters."""
        means = {name: table.mean(axis=1) for name, table in self._tables.items()}
        spans = {name: np.cov(table, bias=True).reshape(len(self.terms), -1) for name, table in self._tables.items()}
        found = {}
        for size in range(1, len(self.search) + 1):
            for names in itertools.combinations(self.search, size):
                parts = [spans[name] if name in names else np.outer(means[name], means[name]) for name in self.search]
                found[frozenset(names)] = float(np.prod(parts, axis=0).sum())
        return found

    @cached_property
    def deviation(self) -> float:
        return math.sqrt(sum(self.variances.values()))

    def first(self) -> dict[str, float]:
        return self._shares(lambda names, name: float(names == {name}))

    def total(self) -> dict[str, float]:
        return self._shares(lambda names, name: float(name in names))

    def shapley(self) -> dict[str, float]:
        return self._shares(lambda names, name: (name in names) / len(names))

    def _shares(self, weight: Callable[[frozenset[str], str], float]) -> dict[str, float]:
        whole = self.deviation**2
        return {
            name: sum(weight(names, name) * part for names, part in self.variances.items()) / whole
            for name in self.search
        }

    def marginal(self, name: str, places: Floats) -> Floats:
        """Mean score over all other parameters at positions of one, with what it needs to be active."""
        wanted = self.search[name].only_if or {}
        means = []
        for other, table in self._tables.items():
            if other in wanted:
                at = self.place(other, wanted[other])  # type: ignore[arg-type]
                means.append(table[:, int(at)])
            elif other != name:
                means.append(table.mean(axis=1))
        others = np.prod(means, axis=0)
        rows = np.stack([term[name](places) if name in term else np.ones(len(places)) for term in self.terms])
        found: Floats = TOP + SPREAD * (others @ rows - self.mean) / self.deviation
        return found


@dataclass(frozen=True, kw_only=True)
class ObjectiveCurves:
    """Curves that end at the objective: score(e) = f(x) - `GAP` (left(e) - left(end)), left(e) = 1 / (1 + e / pace),
    with noise of the run and of the epoch. A slow configuration looks worse early than it is. ``collapses``: the share
    of runs that lose `DROP` points from an epoch on, drawn evenly among all epochs, whatever the configuration."""

    objective: Objective
    seed: int
    collapses: float = 0.0
    search: dict[str, Dimension] | None = field(default=None)

    def curve(self, values: Mapping[str, Value]) -> Curve:
        objective = self.objective
        rng = np.random.default_rng([self.seed, zlib.crc32(repr(sorted(values.items())).encode())])
        tilt = 2 * objective.place(objective.pace, values[objective.pace]) - 1
        pace = EPOCHS / 10 * math.exp(0.4 * tilt)
        epochs = np.arange(1, EPOCHS + 1)
        left = 1 / (1 + epochs / pace)
        scores = objective.score(values) - GAP * (left - left[-1]) + rng.normal(0, RUN)
        scores = scores + rng.normal(0, JITTER, EPOCHS)
        if rng.random() < self.collapses:
            scores[rng.integers(EPOCHS) :] -= rng.uniform(*DROP)
        return Curve(scores=tuple(float(one) for one in scores), seconds=1.0)


def _bump(center: float, width: float) -> Factor:
    return lambda place: np.exp(-(((place - center) / width) ** 2))


def _times(factor: float) -> Factor:
    return lambda place: factor * np.ones_like(place)


def _table(*values: float) -> Factor:
    return lambda place: np.array(values)[np.round(place).astype(int)]


def _centred(factor: float) -> Factor:
    return lambda place: factor * (2 * place - 1)


def _step(at: float, steepness: float) -> Factor:
    return lambda place: 1 / (1 + np.exp(-steepness * (place - at)))


def _g(a: float) -> Factor:
    return lambda place: (np.abs(4 * place - 2) + a) / (1 + a)


def _angle(function: Factor) -> Factor:
    return lambda place: function(math.pi * (2 * place - 1))


def _dimensions(**kinds: dict[str, object]) -> dict[str, Dimension]:
    return {name: Dimension.model_validate(kind) for name, kind in kinds.items()}


def objectives() -> Sequence[Objective]:
    """All of them; each has a parameter that is dead at the end. In `g` the dead one makes curves slow."""
    log: dict[str, object] = {"loguniform": [1e-4, 1e-1]}
    unit: dict[str, object] = {"uniform": [0, 1]}
    interactions = Objective(
        name="interactions",
        search=_dimensions(lr=log, distance={"choice": ["kl", "cr", "mse"]}, alpha=log, tau=unit, width=log, dead=unit),
        terms=(
            {"lr": _bump(0.6, 0.45)},
            {"lr": lambda place: place - 0.5, "alpha": lambda place: np.tanh(4 * (place - 0.4))},
            {"distance": _table(0.3, 0.0, 0.1)},
            {"distance": _table(0.0, 0.6, 0.0), "alpha": lambda place: place},
            {"tau": lambda place: 0.7 * np.sqrt(place)},
            {"width": lambda place: 0.25 * place},
        ),
        pace="lr",
        dead="dead",
    )
    conditional = Objective(
        name="conditional",
        search=_dimensions(
            lr=log,
            teacher={"choice": ["shared", "ema"]},
            decay={"uniform": [0.9, 1.0], "only_if": {"teacher": "ema"}},
            tau=unit,
            dead=log,
        ),
        terms=(
            {"lr": _bump(0.55, 0.5)},
            {"teacher": _table(0.0, -0.4)},
            {"teacher": _table(0.0, 1.6), "decay": _bump(0.7, 0.35)},
            {"tau": lambda place: 0.5 * place, "lr": lambda place: 0.5 + place},
        ),
        pace="lr",
        dead="dead",
    )
    g = Objective(
        name="g",
        search=_dimensions(first=log, second=unit, third=log, fourth=unit, dead=log),
        terms=({"first": _g(0.5), "second": _g(1.5), "third": _g(4.0), "fourth": _g(9.0)},),
        pace="dead",
        dead="dead",
    )
    ishigami = Objective(
        name="ishigami",
        search=_dimensions(first=unit, second=log, third=unit, dead=unit),
        terms=(
            {"first": _angle(np.sin)},
            {"second": _angle(lambda angle: 7 * np.sin(angle) ** 2)},
            {"first": _angle(np.sin), "third": _angle(lambda angle: 0.1 * angle**4)},
        ),
        pace="first",
        dead="dead",
    )
    return interactions, conditional, g, ishigami


def beyond() -> Sequence[Objective]:
    """What the surrogate does not model well: an effect of three parameters together, and steps."""
    log: dict[str, object] = {"loguniform": [1e-4, 1e-1]}
    unit: dict[str, object] = {"uniform": [0, 1]}
    three = Objective(
        name="three",
        search=_dimensions(lr=log, alpha=unit, tau=unit, width=log, dead=unit),
        terms=(
            {"lr": _bump(0.6, 0.45)},
            {"lr": _centred(1), "alpha": _centred(1), "tau": _centred(1)},
            {"alpha": lambda place: 0.8 * place},
            {"width": lambda place: 0.6 * place},
            {"tau": lambda place: 0.5 * place},
        ),
        pace="lr",
        dead="dead",
    )
    steep = Objective(
        name="steep",
        search=_dimensions(lr=log, alpha=unit, tau=unit, width=log, dead=unit),
        terms=(
            {"lr": _step(0.8, -60)},
            {"width": lambda place: 0.5 * _step(0.3, 60)(place)},
            {"alpha": lambda place: 0.4 * place},
            {"tau": lambda place: 0.5 * _bump(0.5, 0.3)(place)},
        ),
        pace="alpha",
        dead="dead",
    )
    return three, steep
