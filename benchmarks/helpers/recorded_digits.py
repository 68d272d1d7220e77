"""The recorded trainings on `digits` (`benchmarks.digits_curves`) as curves for a simulation.

A search proposes any configuration of the space, so the curves between the recorded ones are predicted, as in
Eggensperger et al. (2015): by a forest of extremely randomised trees (Geurts et al. 2006) over the configuration, which
is fitted to all trainings and gives all epochs at once. On top comes the luck of one training, which is a recorded one:
what one seed's curve of a configuration that was trained with three is above their mean, times the square root of 3/2,
since the mean has a share in it. It is drawn, by the asked values, among the ten configurations with three seeds whose
last score is nearest. What a configuration is worth is the prediction at the end, without luck.

The nearest recorded configuration, which `ipix-tune simulate` takes, is no measure here: four in five have one seed,
whose luck would be their worth (`python -m benchmarks.digits_curves predicted` compares the two).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from sklearn.ensemble import ExtraTreesRegressor

from analysis.stats.sensitivity.anova_basis import Basis
from ipix_tune.config.dimension_config import Dimension
from ipix_tune.config.load_study import load
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.study.simulation.curve import Curve, digest
from ipix_tune.trainer.resources import Value

STUDY = Path(__file__).parents[1] / "digits_curves.yaml"
RECORDED = STUDY.with_suffix(".parquet")
FAILED = 0.0
"""The score of an epoch that a training with a loss that was not finite did not reach."""
ALIKE = 10
"""Configurations among whose trainings the luck is drawn."""
TREES = 100

Rows = Sequence[Mapping[str, Any]]
"""A training each: `configuration`, `seed`, `values` and `scores`."""


@dataclass(frozen=True, kw_only=True)
class RecordedCurve(Curve):
    """``worth``: the last score without luck."""

    worth: float


@cache
def shipped() -> Rows:
    """The trainings that come with the benchmark.

    Raises:
        FileNotFoundError: they are not there.
    """
    if not RECORDED.exists():
        raise FileNotFoundError(f"{RECORDED}: not recorded yet; see `python -m benchmarks.digits_curves --help`")
    rows = pq.read_table(RECORDED).to_pylist()
    return [{**row, "values": json.loads(row["values"])} for row in rows]


class Features:
    """Configurations as numbers for trees: a range's place between 0 and 1, a choice's position, and -1 where a
    dimension is not active."""

    def __init__(self, space: SearchSpace) -> None:
        self._basis = Basis(space.describe())

    def of(self, configurations: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """(configurations, dimensions)."""
        places, active = self._basis.units(configurations)
        return np.where(active, places, -1.0)


def forest() -> ExtraTreesRegressor:
    """What predicts the curves."""
    return ExtraTreesRegressor(TREES, random_state=0)


class RecordedDigits:
    """Curves for any configuration.

    Args:
        rows: trainings; every configuration has the same number of epochs, less where one failed.
        seed: of the luck that is laid on the curves.
    """

    def __init__(self, rows: Rows, seed: int) -> None:
        self._seed = seed
        study = load(STUDY)
        self.search: dict[str, Dimension] = study.search
        self.epochs = max(len(row["scores"]) for row in rows)
        curves = np.array([self.whole(row) for row in rows])
        self._features = Features(SearchSpace(study))
        self._forest = forest().fit(self._features.of([row["values"] for row in rows]), curves)
        numbers = np.array([row["configuration"] for row in rows])
        grouped = [curves[numbers == number] for number in np.unique(numbers)]
        self._repeated = [own for own in grouped if len(own) > 1]
        self._asked: dict[str, RecordedCurve] = {}

    def curve(self, values: Mapping[str, Value]) -> RecordedCurve:
        key = repr(sorted(values.items()))
        if key not in self._asked:
            predicted = self._forest.predict(self._features.of([values]))[0]
            scores = predicted + self._luck(predicted[-1], np.random.default_rng([self._seed, digest(values)]))
            self._asked[key] = RecordedCurve(
                scores=[float(one) for one in scores], seconds=1.0, worth=float(predicted[-1])
            )
        return self._asked[key]

    def worth(self, curve: Curve) -> float:
        """The prediction at the end."""
        assert isinstance(curve, RecordedCurve)
        return curve.worth

    def _luck(self, last: float, chance: np.random.Generator) -> np.ndarray:
        """How one training differs from its configuration's mean, (epochs,); 0 where none has several seeds."""
        if not self._repeated:
            return np.zeros(self.epochs)
        alike = sorted(self._repeated, key=lambda curves: abs(curves[:, -1].mean() - last))[:ALIKE]
        curves = alike[chance.integers(len(alike))]
        one = curves[chance.integers(len(curves))] - curves.mean(axis=0)
        found: np.ndarray = one * np.sqrt(len(curves) / (len(curves) - 1))
        return found

    def whole(self, row: Mapping[str, Any]) -> list[float]:
        """A training's scores after every epoch."""
        return [*row["scores"], *[FAILED] * (self.epochs - len(row["scores"]))]
