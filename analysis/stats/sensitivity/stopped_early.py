"""Budget: which stopped runs would have beaten the incumbent, and how far seeds differ at every budget."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag

from analysis.columns import CONFIRM
from analysis.ingest.tables import Tables
from analysis.stats.best import Settings
from analysis.stats.distributions import chi_squared
from analysis.stats.seed_sources import is_crossed, seed_sources
from analysis.stats.sensitivity.anova_basis import Floats
from analysis.stats.sensitivity.effects import summary
from analysis.stats.sensitivity.surrogate import Surrogate
from analysis.stats.study import StudyTrials, from_tables

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
    """All stopped runs but those that had collapsed, the likeliest to have beaten the incumbent first; empty without an
    incumbent of full length."""
    study = surrogate.study
    best = study.best()
    level = None if best is None else study.mean_score(best)
    if best is None or level is None or best.state != "complete":
        return ()
    rng = np.random.default_rng(seed)
    scores = surrogate.ends + surrogate.noise[:, None] * rng.standard_normal(surrogate.ends.shape)
    found = [
        Stopped(
            number=trial.number,
            epochs=trial.epochs,
            chance=float((study.sign * scores[:, column] > study.sign * level).mean()),
            end=summary(scores[:, column]),
        )
        for column, trial in enumerate(surrogate.trials)
        if trial.state == "stopped" and column not in surrogate.collapsed
    ]
    return tuple(sorted(found, key=lambda one: (-one.chance, -study.sign * one.end[0])))


def seed_noise(study: StudyTrials) -> tuple[SeedNoise, ...]:
    """By budget, where configurations have several seeds; empty where none has."""
    return tuple(one for epoch in study.budgets() if (one := seed_noise_at(study, epoch)) is not None)


def measured_noise(study: StudyTrials, tables: Tables) -> SeedNoise | None:
    """At full length: of the confirming runs where there are several of a configuration, else of the search's."""
    for one in (from_tables(tables, metric=study.metric, phase=CONFIRM), study):
        if (found := seed_noise_at(one, study.max_epochs)) is not None:
            return found
    return None


def seed_noise_at(study: StudyTrials, epoch: int) -> SeedNoise | None:
    """After ``epoch`` epochs; None where no configuration has several seeds there.

    Configurations that ran with the same seeds are not independent: a seed that is good for one is often good for
    another, see :func:`_interval`. Crossed seeds of single sources are those of `analysis.stats.seed_sources`.
    """
    if is_crossed(study):
        found = seed_sources(study, epoch)
        return (
            None
            if found is None
            else SeedNoise(
                epoch=epoch,
                value=found.run.sd.value,
                low=found.run.sd.low,
                high=found.run.sd.high,
                configs=found.configurations,
                runs=found.runs,
            )
        )
    several = _several(study, epoch)
    if not several:
        return None
    away = np.concatenate([np.array(list(group.values())) - np.mean(list(group.values())) for group in several])
    runs = len(away)
    low, high = _interval([list(group) for group in several], away)
    return SeedNoise(
        epoch=epoch,
        value=math.sqrt(float(away @ away) / (runs - len(several))),
        low=low,
        high=high,
        configs=len(several),
        runs=runs,
    )


def own_noise_at(study: StudyTrials, epoch: int) -> SeedNoise | None:
    """The same without what a seed adds to all configurations alike, which is no luck between trials of one seed: what
    a least squares fit of configuration and seed leaves. None where too few configurations share seeds to tell."""
    several = _several(study, epoch)
    seeds = list(dict.fromkeys(seed for group in several for seed in group))
    cells = [(at, seeds.index(seed), score) for at, group in enumerate(several) for seed, score in group.items()]
    design = np.zeros((len(cells), len(several) + len(seeds)))
    for row, (config, seed, _) in enumerate(cells):
        design[row, config] = design[row, len(several) + seed] = 1
    scores = np.array([score for *_, score in cells])
    freedom = len(cells) - int(np.linalg.matrix_rank(design)) if cells else 0
    if not freedom:
        return None
    left = scores - design @ np.linalg.lstsq(design, scores, rcond=None)[0]
    squares = float(left @ left)
    low, high = (math.sqrt(squares / chi_squared(level, freedom)) for level in (0.975, 0.025))
    return SeedNoise(
        epoch=epoch, value=math.sqrt(squares / freedom), low=low, high=high, configs=len(several), runs=len(cells)
    )


def _several(study: StudyTrials, epoch: int) -> list[dict[Hashable, float]]:
    """Scores after ``epoch`` epochs by seed, of every configuration that has several."""
    groups: dict[Settings, dict[Hashable, float]] = {}
    for trial in study.trials:
        if epoch in trial.curve:
            groups.setdefault(trial.settings, {})[trial.chance] = trial.curve[epoch]
    return [group for group in groups.values() if len(group) > 1]


def _interval(seeds: Sequence[Sequence[Hashable]], away: Floats) -> tuple[float, float]:
    """Of the pooled standard deviation, as in a two-way layout of configurations and seeds.

    The pooled variance is a mean square between seeds plus one of what is left, each with its degrees of freedom; the
    interval of such a sum is that of Graybill and Wang (1980), which is the chi-squared one where no seed is shared.
    With unequal seeds ``shared`` stands for the number of configurations that a seed is shared by: with A the matrix
    that subtracts from each run its configuration's mean, and K that of pairs of runs with equal seeds, it is
    tr(AKAK) / tr(A).

    Args:
        seeds: of every configuration's runs.
        away: the runs' scores minus their configuration's mean, in the same order.
    """
    labels = np.array([str(seed) for group in seeds for seed in group])
    same = (labels[:, None] == labels).astype(float)
    center = block_diag(*(np.eye(len(group)) - 1 / len(group) for group in seeds))
    crossed = center @ same
    freedom = float(np.trace(center))
    shared = float((crossed * crossed.T).sum()) / freedom
    between, left = freedom / shared, freedom - freedom / shared
    parts = [(float(away @ same @ away) / freedom / shared, between)]
    if left > 1e-9:
        parts.append(((float(away @ away) - between * shared * parts[0][0]) / left * (1 - 1 / shared), left))
    pooled = float(away @ away) / freedom
    down, up = (
        math.sqrt(sum((part * (count / chi_squared(level, count) - 1)) ** 2 for part, count in parts))
        for level in (0.975, 0.025)
    )
    return math.sqrt(max(pooled - down, 0.0)), math.sqrt(pooled + up)
