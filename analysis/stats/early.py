"""Budget: which stopped runs would have beaten the incumbent, and how far seeds differ at every budget."""

import math
from dataclasses import dataclass

import numpy as np

from analysis.stats.best import Settings
from analysis.stats.effects import summary
from analysis.stats.quantiles import chi_squared
from analysis.stats.study import Study
from analysis.stats.surrogate import Surrogate

LIKELY = 0.5
"""A run that would have beaten the incumbent with a larger chance than this was stopped too early."""


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """A stopped run. ``chance``: that its own score at full budget would have been better than the incumbent's;
    ``end``: that score's median and 95 % interval."""

    number: int
    epochs: int
    chance: float
    end: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class SeedNoise:
    """Standard deviation between seeds of one configuration at one budget, pooled over ``configs`` configurations
    with ``runs`` runs, and its 95 % interval for normal noise."""

    epoch: int
    value: float
    low: float
    high: float
    configs: int
    runs: int


def stopped_early(surrogate: Surrogate, *, seed: int = 0) -> tuple[Stopped, ...]:
    """All stopped runs, the likeliest to have beaten the incumbent first; empty without an incumbent of full length."""
    study = surrogate.study
    best = study.best()
    if best is None or best.score is None or best.state != "complete":
        return ()
    rng = np.random.default_rng(seed)
    scores = surrogate.ends + surrogate.noise[:, None] * rng.standard_normal(surrogate.ends.shape)
    found = [
        Stopped(
            number=trial.number,
            epochs=trial.epochs,
            chance=float((study.sign * scores[:, column] > study.sign * best.score).mean()),
            end=summary(scores[:, column]),
        )
        for column, trial in enumerate(surrogate.trials)
        if trial.state == "stopped"
    ]
    return tuple(sorted(found, key=lambda one: (-one.chance, -study.sign * one.end[0])))


def seed_noise(study: Study) -> tuple[SeedNoise, ...]:
    """By budget, where configurations have several seeds; empty where none has."""
    found = []
    for epoch in study.budgets():
        groups: dict[Settings, dict[int | None, float]] = {}
        for trial in study.trials:
            if epoch in trial.curve:
                groups.setdefault(trial.settings, {})[trial.seed] = trial.curve[epoch]
        several = [np.array(list(group.values())) for group in groups.values() if len(group) > 1]
        freedom = sum(len(group) - 1 for group in several)
        if not freedom:
            continue
        squares = sum(float(((group - group.mean()) ** 2).sum()) for group in several)
        low, high = (math.sqrt(squares / chi_squared(level, freedom)) for level in (0.975, 0.025))
        found.append(
            SeedNoise(
                epoch=epoch,
                value=math.sqrt(squares / freedom),
                low=low,
                high=high,
                configs=len(several),
                runs=sum(len(group) for group in several),
            )
        )
    return tuple(found)
