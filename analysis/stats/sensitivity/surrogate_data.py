"""The rows of a study that a surrogate is fitted to: which trials and epochs, from what their scores are measured, and
which of them are left out."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analysis.stats.rung_correlation import ladder
from analysis.stats.sensitivity.anova_basis import Basis, Floats
from analysis.stats.sensitivity.collapsed_runs import SILENT
from analysis.stats.sensitivity.gp_likelihood import Rows
from analysis.stats.study import StudyTrials, Trial

LEAST, MOST = 12, 200
"""Scored trials below which there is no surrogate, and above which it has as many of them, drawn at random: the time
grows with the cube of their number, and the draw must not look at scores."""
GROWTH = 1.25
"""Above `MOST`, trials are drawn anew whenever there are so many times more of them."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Rows of a study, and what leads back to its unit: score = (scores * scale + centers[at]) * sign, where ``at``
    (n,) is the position in ``levels``, the epochs that rows are of."""

    basis: Basis
    rows: Rows
    trials: tuple[Trial, ...]
    pool: int
    levels: tuple[int, ...]
    at: NDArray[np.int64]
    fixed: tuple[str, ...]
    centers: Floats
    scale: float

    @property
    def raw(self) -> Floats:
        """Scores of which more is better, in the study's unit, (n,)."""
        found: Floats = self.rows.scores * self.scale + self.centers[self.at]
        return found

    @property
    def out(self) -> NDArray[np.bool_]:
        """Rows that do not count, (n,)."""
        found: NDArray[np.bool_] = self.rows.extra > 0
        return found


def gather(study: StudyTrials) -> Data | None:
    """The rows of all trials; None where there are too few, or all alike.

    Where a scheduler stopped trials, a trial has a row at every rung that it reached, since these scores decided;
    else at the highest level only.
    """
    levels = sorted({*study.rungs, *ladder(study.grace_epochs, study), study.max_epochs})
    levels = [epoch for epoch in levels if epoch <= study.max_epochs]
    reached = {trial.run_id: [epoch for epoch in levels if epoch in trial.curve] for trial in study.trials}
    if not any(rung < study.max_epochs for rung in study.rungs):
        reached = {run_id: epochs[-1:] for run_id, epochs in reached.items()}
    space = Basis({name: study.space[name] for name in study.parameters})
    trials = tuple(trial for trial in study.trials if reached[trial.run_id] and _inside(trial, space))
    if len(trials) < LEAST:
        return None
    trials, pool = sample(trials)
    varied = {
        name: study.space[name]
        for name in study.parameters
        if len({repr(trial.values[name]) for trial in trials if name in trial.values}) > 1
    }
    if not varied:
        return None
    basis = Basis(varied)
    levels = [epoch for epoch in levels if any(epoch in reached[trial.run_id] for trial in trials)]
    who = np.array([i for i, trial in enumerate(trials) for _ in reached[trial.run_id]])
    at = np.array([levels.index(epoch) for trial in trials for epoch in reached[trial.run_id]])
    raw = study.sign * np.array([trial.curve[epoch] for trial in trials for epoch in reached[trial.run_id]])
    centers = np.array([raw[at == level].mean() for level in range(len(levels))])
    scores = raw - centers[at]
    scale = float(scores.std())
    if scale < 1e-9 * max(1.0, float(np.abs(raw).max())):
        return None
    full = math.log(study.max_epochs / levels[0]) or 1.0
    places, active = basis.units([trial.values for trial in trials])
    return Data(
        basis=basis,
        rows=Rows(
            who=who,
            distance=np.log(study.max_epochs / np.array(levels, dtype=float))[at] / full,
            scores=scores / scale,
            singles=tuple(basis.single(i, places[:, i], active[:, i]) for i in range(len(basis.axes))),
            extra=np.zeros(len(scores)),
        ),
        trials=trials,
        pool=pool,
        levels=tuple(levels),
        at=at,
        fixed=tuple(name for name in study.parameters if name not in varied),
        centers=centers,
        scale=scale,
    )


def sample(trials: tuple[Trial, ...]) -> tuple[tuple[Trial, ...], int]:
    """The trials that a surrogate is fitted to, in their order, and of how many they were drawn.

    Up to `MOST` are all taken. Of more, those that ended first are drawn from, as many as the largest of `MOST`, `MOST`
    * `GROWTH`, `MOST` * `GROWTH`^2, ... that have ended: so that one trial more rarely makes another sample, and where
    it does, most of the trials stay.
    """
    if len(trials) <= MOST:
        return trials, len(trials)
    order = sorted(trials, key=lambda trial: (trial.state == "running", trial.ended_at, trial.number))
    ended = max(MOST, sum(trial.state != "running" for trial in trials))
    pool = MOST
    while int(pool * GROWTH) <= ended:
        pool = int(pool * GROWTH)
    drawn = np.argsort(np.random.default_rng(0).random(pool), kind="stable")[:MOST]
    chosen = {order[i].run_id for i in drawn}
    return tuple(trial for trial in trials if trial.run_id in chosen), pool


def _inside(trial: Trial, space: Basis) -> bool:
    """Whether all values are in the searched ranges: a control, such as a weight of 0 on a log range, is not."""
    return all(axis.holds(trial.values[axis.name]) for axis in space.axes if axis.name in trial.values)


def without(data: Data, out: NDArray[np.bool_]) -> Data:
    """The data with the rows ``out`` silenced: they count neither in the fit nor in what scores are measured from."""
    raw = data.raw
    levels = range(len(data.levels))
    counted = [(data.at == level) & ~out if (~out)[data.at == level].any() else data.at == level for level in levels]
    centers = np.array([raw[rows].mean() for rows in counted])
    away = raw - centers[data.at]
    scale = float(away[~out].std()) or data.scale
    extra: Floats = SILENT * out.astype(float)
    rows = replace(data.rows, scores=away / scale, extra=extra)
    return replace(data, rows=rows, centers=centers, scale=scale)
