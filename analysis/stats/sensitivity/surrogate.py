"""What the study has seen, as draws from the posterior of the score at full budget (see
`analysis.stats.sensitivity.gp_likelihood`).

The hyperparameters are drawn too: by elliptical slice sampling (Murray, Adams and MacKay 2010) around a Laplace
approximation (as in Nishihara, Murray and Adams 2014), so that intervals hold what is not known of noise, smoothness
and relevance. Functions are drawn by Matheron's rule (Wilson et al. 2020). Same trials and seed, same draws.
"""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve
from threadpoolctl import threadpool_limits

from analysis.compute.cache import Digested
from analysis.compute.process_pool import Here
from analysis.stats.rung_correlation import ladder
from analysis.stats.sensitivity.anova_basis import Basis, Floats
from analysis.stats.sensitivity.collapsed_runs import SILENT, collapsed_rows, evidence, suspects
from analysis.stats.sensitivity.gp_likelihood import LEVEL_VARIANCE, Hyper, Model, Rows, factor
from analysis.stats.sensitivity.posterior_mode import find_mode
from analysis.stats.study import Study, Trial

LEAST, MOST = 12, 200
"""Scored trials below which there is no surrogate, and above which it has as many of them, drawn at random: the time
grows with the cube of their number, and the draw must not look at scores."""
GROWTH = 1.25
"""Above `MOST`, trials are drawn anew whenever there are so many times more of them."""
DRAWS, BURN_IN = 200, 40
PORTION = 25
"""Draws that a process makes at a time."""
ROUNDS = 12
"""Of looking for collapsed runs, at most."""
STEP = 1e-3
"""Of the differences that give the curvature at the mode."""


@dataclass(frozen=True, kw_only=True)
class Surrogate(Digested):
    """``weights`` (draws, width): of the basis' functions. ``level`` (draws,): mean over the space. ``ends`` (draws,
    trials): what the run of each trial would have come to at full budget, but for ``noise`` (draws,), the standard
    deviation of one epoch's score around it; ``seeds`` (draws,): of runs of one configuration that differ in the seed
    only, and ``apart`` (draws, levels): the same after each of ``levels`` epochs. All are scores of the study's own
    sign and unit. ``mode``: theta at the posterior's mode. ``pool``: of how many trials ``trials`` were drawn, see
    :func:`sample`. ``out`` (rows,): the rows of collapsed runs, which do not count, and ``collapsed`` the positions of
    these runs in ``trials``."""

    study: Study
    basis: Basis
    trials: tuple[Trial, ...]
    levels: tuple[int, ...]
    pool: int
    rows: int
    fixed: tuple[str, ...]
    weights: Floats
    level: Floats
    ends: Floats
    noise: Floats
    seeds: Floats
    apart: Floats
    mode: Floats
    out: NDArray[np.bool_]
    collapsed: tuple[int, ...]

    @property
    def complete(self) -> int:
        """Trials with a score at full budget."""
        return sum(self.study.max_epochs in trial.curve for trial in self.trials)

    @cached_property
    def alone(self) -> "Surrogate":
        """The same in a study of its own trials: what a figure is drawn from that shows no others."""
        return replace(self, study=replace(self.study, trials=self.trials))

    def at(self, configs: Sequence[Mapping[str, Any]]) -> Floats:
        """Scores at full budget without noise, (draws, configs)."""
        found: Floats = self.level[:, None] + self.weights @ self.basis.features(configs).T
        return found


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


def gather(study: Study) -> Data | None:
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


def fit(study: Study, *, draws: int = DRAWS, seed: int = 0) -> Surrogate | None:
    """The surrogate of a study; None with fewer than `LEAST` scored trials, or where nothing varies."""
    data = gather(study)
    if data is None or study.max_epochs not in data.levels:
        return None
    data, mode = settle(data)
    return drawn(study, data, draw(data, mode, draws=draws, seed=seed))


def settle(data: Data) -> tuple[Data, Floats]:
    """The data with the rows of collapsed runs silenced (see `analysis.stats.sensitivity.collapsed_runs`), and the
    mode.

    Both are sought in turns until no row changes sides, once from all rows and, where some stand far below the others,
    once without these: several collapsed runs can hide each other in the first, and the second can take a bad region
    for collapsed runs. The likelier of the two is kept.
    """
    with threadpool_limits(1, user_api="blas"):
        found = [_settled(data)]
        if (low := suspects(data.rows)).any():
            found.append(_settled(without(data, low)))
    _, kept, mode = max(found, key=lambda one: one[0])
    return kept, mode


def _settled(data: Data) -> tuple[float, Data, Floats]:
    """From one assignment: its evidence at the end, the data and the mode."""
    mode, seen = None, {data.out.tobytes()}
    for _ in range(ROUNDS):
        model = Model(data.basis, data.rows)
        mode = find_mode(model, start=mode)
        out, density = collapsed_rows(model, mode)
        if out.tobytes() in seen:
            break
        seen.add(out.tobytes())
        data = without(data, out)
    assert mode is not None
    return evidence(model, mode, density, data.scale), data, mode


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


@dataclass(frozen=True, kw_only=True)
class Draws:
    """As :class:`Surrogate` has them, of scores of which more is better."""

    level: Floats
    weights: Floats
    ends: Floats
    noise: Floats
    seeds: Floats
    apart: Floats
    mode: Floats


def draw(data: Data, mode: Floats, *, draws: int = DRAWS, seed: int = 0, pool: Executor | None = None) -> Draws:
    """Draws from the posterior; ``pool`` shares out those of functions. With one thread, since several do not give the
    same bits everywhere, and the matrices are small."""
    rng = np.random.default_rng(seed)
    with threadpool_limits(1, user_api="blas"):
        hypers = _hypers(Model(data.basis, data.rows), mode, draws=draws, rng=rng)
    normals = [_normals(data, rng) for _ in hypers]
    shares = [slice(start, start + PORTION) for start in range(0, draws, PORTION)]
    found = [
        one
        for part in (pool or Here()).map(
            _functions, repeat(data), [hypers[share] for share in shares], [normals[share] for share in shares]
        )
        for one in part
    ]
    level, weights, ends, noise, apart = (np.array(part) for part in zip(*found, strict=True))
    return Draws(level=level, weights=weights, ends=ends, noise=noise, seeds=apart[:, -1], apart=apart, mode=mode)


def drawn(study: Study, data: Data, draws: Draws) -> Surrogate:
    """The surrogate that the draws make."""
    return Surrogate(
        study=study,
        basis=data.basis,
        trials=data.trials,
        pool=data.pool,
        levels=data.levels,
        rows=len(data.rows.scores),
        fixed=data.fixed,
        weights=study.sign * draws.weights,
        level=study.sign * draws.level,
        ends=study.sign * draws.ends,
        noise=draws.noise,
        seeds=draws.seeds,
        apart=draws.apart,
        mode=draws.mode,
        out=data.out,
        collapsed=tuple(sorted({int(one) for one in data.rows.who[data.out]})),
    )


def _hypers(model: Model, mode: Floats, *, draws: int, rng: np.random.Generator) -> list[Floats]:
    """Draws of theta."""
    root = _laplace_root(model, mode)
    inverse = np.linalg.inv(root)

    def residual(theta: Floats) -> float:
        away = inverse @ (theta - mode)
        return model.log_posterior(theta) + 0.5 * float(away @ away)

    theta, found = mode, []
    known = residual(theta)
    for step in range(BURN_IN + draws):
        theta, known = _slice(theta, known, residual, center=mode, root=root, rng=rng)
        if step >= BURN_IN:
            found.append(theta)
    return found


def _laplace_root(model: Model, mode: Floats) -> Floats:
    """A square root of the covariance of the normal that fits the posterior at its mode."""
    count = len(mode)
    _, slope = model.with_gradient(mode)
    curvature = np.stack([slope - model.with_gradient(mode + shift)[1] for shift in STEP * np.eye(count)]) / STEP
    scaled = (curvature + curvature.T) / 2 * np.outer(model.spread, model.spread)
    values, vectors = np.linalg.eigh(scaled)
    root: Floats = model.spread[:, None] * vectors / np.sqrt(np.clip(values, 0.5, None))
    return root


def _slice(
    theta: Floats, known: float, density: Any, *, center: Floats, root: Floats, rng: np.random.Generator
) -> tuple[Floats, float]:
    """One step of elliptical slice sampling."""
    other = root @ rng.standard_normal(len(theta))
    threshold = known + math.log(rng.uniform())
    angle = rng.uniform(0, 2 * math.pi)
    low, high = angle - 2 * math.pi, angle
    while True:
        proposed = center + (theta - center) * math.cos(angle) + other * math.sin(angle)
        value = density(proposed)
        if value > threshold:
            return proposed, value
        low, high = (angle, high) if angle < 0 else (low, angle)
        if high - low < 1e-9:
            return theta, known
        angle = rng.uniform(low, high)


Normals = tuple[float, Floats, Floats, Floats]
"""Standard normal numbers of one draw: of the level, of the weights, of the runs, and of the rows."""


def _normals(data: Data, rng: np.random.Generator) -> Normals:
    return (
        rng.standard_normal(),
        rng.standard_normal(data.basis.width),
        rng.standard_normal(len(data.trials)),
        rng.standard_normal(len(data.rows.scores)),
    )


def _functions(
    data: Data, hypers: Sequence[Floats], normals: Sequence[Normals]
) -> list[tuple[float, Floats, Floats, float, Floats]]:
    """A draw of level, weights, ends, noise and what seeds differ by at every level for each theta."""
    model, features = Model(data.basis, data.rows), data.basis.joined(data.rows.singles)
    with threadpool_limits(1, user_api="blas"):
        return [
            _function(model, data, features, model.hyper(theta), numbers)
            for theta, numbers in zip(hypers, normals, strict=True)
        ]


def _function(
    model: Model, data: Data, features: Floats, hyper: Hyper, normals: Normals
) -> tuple[float, Floats, Floats, float, Floats]:
    """By Matheron's rule: a draw from the prior, moved by what the scores differ from its scores."""
    rows, scale = data.rows, data.scale
    for_level, for_weights, for_runs, for_rows = normals
    variances = model.prior_variances(hyper)
    level = math.sqrt(LEVEL_VARIANCE) * for_level
    weights = np.sqrt(variances) * for_weights
    runs = math.sqrt(hyper.run) * for_runs
    other = factor(model.other_covariance(hyper)) @ for_rows
    simulated = level + (features @ weights + runs)[rows.who] + other
    lower = factor(model.covariance(hyper))
    pull = cho_solve((lower, True), rows.scores - simulated, check_finite=False)
    by_trial = np.add.reduceat(pull, rows.starts)
    level += LEVEL_VARIANCE * pull.sum()
    weights = weights + variances * (features.T @ by_trial)
    runs = runs + hyper.run * by_trial
    top = data.centers[-1]
    ends = level + features @ weights + runs
    noise = scale * math.sqrt(hyper.noise)
    left = np.array([rows.distance[data.at == level].max() for level in range(len(data.levels))])
    apart = scale * np.sqrt(hyper.run + hyper.run_drift * left + hyper.noise)
    return top + scale * level, scale * weights, top + scale * ends, noise, apart
