"""The recorded trainings on `digits` (`benchmarks.digits_curves`) as curves for a simulation.

A table, so a search proposes any configuration of the space and is answered by the nearest recorded one (distance as
`ipix_tune.study.simulation.recorded_curves` has it): the mean of its curves, the luck of one training on top, which
is a recorded one too: what one seed's curve of a configuration that was trained with three is above their mean, times
the square root of 3/2, since the mean has a share in it. It is drawn, by the asked values, among the ten configurations
with three seeds whose last score is nearest. So two proposals near the same configuration have curves of their own and
the same worth, as in training. What they are worth is the recorded mean at the end.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from ipix_tune.config.dimension_config import Dimension
from ipix_tune.config.load_study import load
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.study.simulation.curve import Curve, digest
from ipix_tune.study.simulation.recorded_curves import RecordedCurves
from ipix_tune.trainer.resources import Value

STUDY = Path(__file__).parents[1] / "digits_curves.yaml"
RECORDED = STUDY.with_suffix(".parquet")
FAILED = 0.0
"""The score of an epoch that a training with a loss that was not finite did not reach."""
ALIKE = 10
"""Configurations among whose trainings the luck is drawn."""

Rows = Sequence[Mapping[str, Any]]
"""A training each: `configuration`, `seed`, `values` and `scores`."""


@dataclass(frozen=True, kw_only=True)
class RecordedCurve(Curve):
    """``configuration``: the number of the recorded one that answers."""

    configuration: int


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


class RecordedDigits:
    """The table.

    Args:
        rows: trainings; every configuration has the same number of epochs, less where one failed.
        seed: of the luck that is laid on the curves.
    """

    def __init__(self, rows: Rows, seed: int) -> None:
        self._rows, self._seed = rows, seed
        study = load(STUDY)
        self.search: dict[str, Dimension] = study.search
        self.epochs = max(len(row["scores"]) for row in rows)
        self._curves: dict[int, np.ndarray] = {}
        for number in sorted({row["configuration"] for row in rows}):
            self._curves[number] = np.array([self._whole(row) for row in rows if row["configuration"] == number])
        self._numbers = list(self._curves)
        values = {row["configuration"]: dict(row["values"]) for row in rows}
        empty = Curve(scores=(), seconds=1.0)
        self._nearest = RecordedCurves(SearchSpace(study), [(values[number], empty) for number in self._numbers])
        self._asked: dict[str, RecordedCurve] = {}

    def curve(self, values: Mapping[str, Value]) -> RecordedCurve:
        key = repr(sorted(values.items()))
        if key not in self._asked:
            near = self._nearest.nearest(values)
            chance = np.random.default_rng([self._seed, digest(values)])
            number = self._numbers[near[chance.integers(len(near))]]
            scores = self.mean(number) + self._luck(number, chance)
            self._asked[key] = RecordedCurve(scores=[float(one) for one in scores], seconds=1.0, configuration=number)
        return self._asked[key]

    def worth(self, curve: Curve) -> float:
        """The recorded mean at the end."""
        assert isinstance(curve, RecordedCurve)
        return float(self.mean(curve.configuration)[-1])

    def mean(self, number: int) -> np.ndarray:
        """Over a configuration's seeds, (epochs,)."""
        found: np.ndarray = self._curves[number].mean(axis=0)
        return found

    def _luck(self, number: int, chance: np.random.Generator) -> np.ndarray:
        """How one training differs from its configuration's mean, (epochs,); 0 where none has several seeds."""
        if not self._repeated:
            return np.zeros(self.epochs)
        last = self.mean(number)[-1]
        alike = sorted(self._repeated, key=lambda other: abs(self.mean(other)[-1] - last))[:ALIKE]
        curves = self._curves[alike[chance.integers(len(alike))]]
        one = curves[chance.integers(len(curves))] - curves.mean(axis=0)
        found: np.ndarray = one * np.sqrt(len(curves) / (len(curves) - 1))
        return found

    @cached_property
    def _repeated(self) -> list[int]:
        return [number for number, curves in self._curves.items() if len(curves) > 1]

    def _whole(self, row: Mapping[str, Any]) -> list[float]:
        return [*row["scores"], *[FAILED] * (self.epochs - len(row["scores"]))]
