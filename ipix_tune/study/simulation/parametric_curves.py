"""Curves by a formula, with an optimum that the seed draws."""

import itertools
import math
import zlib
from collections.abc import Mapping

import numpy as np

from ipix_tune.config.dimension import from_unit, same, to_unit
from ipix_tune.config.dimension_config import Dimension
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.study.simulation.curve import JITTER, Curve, as_scores, digest
from ipix_tune.trainer.resources import Value

START, BEST = 0.9, 0.2
"""Errors: before training, and of the best configuration after endless training."""


class ParametricCurves:
    """Curves by formula over any search space. A configuration's error after e epochs falls from `START` to an
    asymptote: as (1 + e/s)^-b (shape power) or exp(-e/s) (shape exponential).

    The asymptote is `BEST` at an optimum that the seed draws, and grows with a quadratic form of the distance from it
    in which neighbouring dimensions interact. Pace s depends on the configuration too, so that curves cross. A seeded
    jitter is added to every epoch.
    """

    search: dict[str, Dimension] | None = None

    def __init__(self, space: SearchSpace, *, shape: str, mode: str, epochs: int, seed: int) -> None:
        self._space = space
        self._shape = shape
        self._maximize = mode == "max"
        self._epochs = np.arange(1, epochs + 1)
        self._seed = seed
        self._places = {name: _Place(name, dimension, seed) for name, dimension in space.dimensions.items()}

    def offsets(self, values: Mapping[str, Value]) -> dict[str, float]:
        """Distance from the optimum by dimension, weighted."""
        return {name: self._places[name].offset(value) for name, value in values.items()}

    def error(self, values: Mapping[str, Value]) -> float:
        """The asymptote."""
        offsets = list(self.offsets(values).values())
        squares = sum(one * one for one in offsets)
        crossed = sum(a * b for a, b in itertools.pairwise(offsets))
        return BEST + (START - BEST) * (1 - math.exp(-(squares + 0.6 * crossed)))

    def optimum(self) -> dict[str, Value]:
        """The configuration with the smallest asymptote."""
        return self._space.draw(lambda name, _: self._places[name].best())

    def curve(self, values: Mapping[str, Value]) -> Curve:
        jitter = np.random.default_rng([self._seed, digest(values)]).normal(0, JITTER, len(self._epochs))
        scores = as_scores(self._errors(values) + jitter, maximize=self._maximize)
        return Curve(scores=tuple(scores), seconds=1.0)

    def end(self, values: Mapping[str, Value]) -> float:
        """The score after the last epoch without the jitter."""
        return as_scores(self._errors(values), maximize=self._maximize)[-1]

    def _errors(self, values: Mapping[str, Value]) -> np.ndarray:
        """By epoch, without the jitter."""
        asymptote, full = self.error(values), float(self._epochs[-1])
        tilt = sum(self._places[name].tilt(value) for name, value in values.items())
        pace = full / 10 * math.exp(0.7 * math.tanh(tilt))
        if self._shape == "power":
            left = (1 + self._epochs / pace) ** -1.0
        else:
            left = np.exp(-self._epochs / pace)
        errors: np.ndarray = asymptote + (START - asymptote) * left
        return errors


class _Place:
    """One dimension of a parametric family."""

    def __init__(self, name: str, dimension: Dimension, seed: int) -> None:
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        self._dimension = dimension
        self._best = rng.uniform(0.1, 0.9)
        self._weight = math.exp(rng.uniform(math.log(0.3), math.log(3)))
        self._slope = rng.normal()
        count = len(dimension.choice or ())
        self._costs = rng.uniform(0.1, 0.4, count)
        if count:
            self._costs[rng.integers(count)] = 0

    def offset(self, value: Value) -> float:
        if self._dimension.choice is not None:
            return float(self._costs[self._position(value)])
        return self._weight * (self._unit(value) - self._best)

    def tilt(self, value: Value) -> float:
        if self._dimension.choice is not None:
            return 0.0
        return self._slope * (self._unit(value) - 0.5)

    def best(self) -> Value:
        if self._dimension.choice is not None:
            return self._dimension.choice[int(np.argmin(self._costs))]
        return from_unit(self._dimension, self._best)

    def _position(self, value: Value) -> int:
        return next(i for i, one in enumerate(self._dimension.choice or ()) if same(one, value))

    def _unit(self, value: Value) -> float:
        assert isinstance(value, int | float)
        return to_unit(self._dimension, value)
