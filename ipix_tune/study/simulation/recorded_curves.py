"""Curves of the trials of an earlier study."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.columns import CONFIRM
from ipix_tune.config.dimension import same, to_unit
from ipix_tune.config.dimension_config import Dimension
from ipix_tune.config.search_space import SearchSpace, recorded_values
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.study.simulation.curve import Curve, CurvesError, digest
from ipix_tune.trainer.resources import Value
from trainers.common.errors import did_you_mean


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
        """A value as a number: 0 to 1 on a range; for a choice its position in the list, -1 where it is not listed."""
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
        return self._curves[near[digest(values) % len(near)]]


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
    space, lengths = SearchSpace(study), sorted({row["epochs"] for row in rows})
    if lengths != [epochs]:
        raise CurvesError(
            f"{folder}: the recorded curves have {', '.join(map(str, lengths))} epochs, the study "
            f"{space.trainer.length_key} = {epochs}; set it to the recorded length (and the grace period with it)"
        )
    history: dict[str, dict[int, dict[str, Any]]] = {}
    for line in found.history.select(["run_id", "epoch", "time", metric]).to_pylist():
        history.setdefault(line["run_id"], {})[line["epoch"]] = line
    recorded = []
    for row in rows:
        lines = history.get(row["run_id"], {})
        values = recorded_values(space, json.loads(row["config"]))
        scores = tuple(lines.get(epoch, {}).get(metric) for epoch in range(1, epochs + 1))
        recorded.append((values, Curve(scores=scores, seconds=_seconds(row, lines))))
    return RecordedCurves(space, recorded)


def _seconds(row: Mapping[str, Any], lines: Mapping[int, Mapping[str, Any]]) -> float:
    """Seconds of one epoch, from the times of the first and the last or from the run's; 1 where neither is recorded."""
    times = {epoch: line["time"] for epoch, line in lines.items() if line["time"] is not None}
    if len(times) > 1 and times[max(times)] > times[min(times)]:
        return float((times[max(times)] - times[min(times)]) / (max(times) - min(times)))
    return float(row["runtime_s"] / row["epochs"]) if row["runtime_s"] else 1.0
