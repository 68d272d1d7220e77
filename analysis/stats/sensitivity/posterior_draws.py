"""Draws from the posterior of the surrogate.

The hyperparameters are drawn too: by elliptical slice sampling (Murray, Adams and MacKay 2010) around a Laplace
approximation (as in Nishihara, Murray and Adams 2014), so that intervals hold what is not known of noise, smoothness
and relevance. Functions are drawn by Matheron's rule (Wilson et al. 2020). Same trials and seed, same draws.
"""

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from scipy.linalg import cho_solve
from threadpoolctl import threadpool_limits

from analysis.compute.process_pool import Here
from analysis.stats.sensitivity.anova_basis import Floats
from analysis.stats.sensitivity.gp_likelihood import LEVEL_VARIANCE, Hyper, Model, factor
from analysis.stats.sensitivity.surrogate_data import Data

DRAWS, BURN_IN = 200, 40
PORTION = 25
"""Draws that a process makes at a time."""
STEP = 1e-3
"""Step of the finite differences that give the curvature at the mode."""


@dataclass(frozen=True, kw_only=True)
class Draws:
    """The arrays of a :class:`Surrogate`, for scores of which more is better."""

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


def draw_at_mode(data: Data, mode: Floats, *, draws: int, seed: int = 0) -> Draws:
    """Draws of functions with the hyperparameters at their mode. Faster than :func:`draw`, and too sure of itself where
    few trials tell the hyperparameters."""
    rng = np.random.default_rng(seed)
    found = _functions(data, [mode] * draws, [_normals(data, rng) for _ in range(draws)])
    level, weights, ends, noise, apart = (np.array(part) for part in zip(*found, strict=True))
    return Draws(level=level, weights=weights, ends=ends, noise=noise, seeds=apart[:, -1], apart=apart, mode=mode)


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
