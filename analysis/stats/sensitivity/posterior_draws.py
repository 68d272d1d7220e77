"""Draws from the posterior of the surrogate.

The hyperparameters are drawn too: by elliptical slice sampling (Murray, Adams and MacKay 2010) around a Laplace
approximation (as in Nishihara, Murray and Adams 2014), so that intervals hold what is not known of noise, smoothness
and relevance. Functions are drawn in `posterior_function`. Same trials and seed, same draws.
"""

import math
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from analysis.compute.process_pool import Here
from analysis.stats.sensitivity.anova_basis import Floats
from analysis.stats.sensitivity.gp_likelihood import Hyper, Model
from analysis.stats.sensitivity.posterior_function import Conditioned, Function, Normals, normals
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
    numbers = [_normals(data, rng) for _ in hypers]
    shares = [slice(start, start + PORTION) for start in range(0, draws, PORTION)]
    found = [
        one
        for part in (pool or Here()).map(
            _functions, repeat(data), [hypers[share] for share in shares], [numbers[share] for share in shares]
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


def _normals(data: Data, rng: np.random.Generator) -> Normals:
    return normals(rng, width=data.basis.width, trials=len(data.trials), rows=len(data.rows.scores))


def _functions(
    data: Data, hypers: Sequence[Floats], numbers: Sequence[Normals]
) -> list[tuple[float, Floats, Floats, float, Floats]]:
    """A draw of level, weights, ends, noise and what seeds differ by at every level for each theta."""
    model, features = Model(data.basis, data.rows), data.basis.joined(data.rows.singles)
    found, known, posterior = [], None, None
    with threadpool_limits(1, user_api="blas"):
        for theta, own in zip(hypers, numbers, strict=True):
            if posterior is None or theta is not known:
                known, posterior = theta, Conditioned(model, features, theta)
            found.append(_in_unit(posterior.draw(own), posterior.hyper, data))
    return found


def _in_unit(function: Function, hyper: Hyper, data: Data) -> tuple[float, Floats, Floats, float, Floats]:
    """In the study's unit."""
    top, scale = data.centers[-1], data.scale
    noise = scale * math.sqrt(hyper.noise)
    left = np.array([data.rows.distance[data.at == level].max() for level in range(len(data.levels))])
    apart = scale * np.sqrt(hyper.run + hyper.run_drift * left + hyper.noise)
    return top + scale * function.level, scale * function.weights, top + scale * function.ends, noise, apart
