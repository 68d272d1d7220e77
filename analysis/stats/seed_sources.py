"""Which source of chance makes seeds differ, where a study ran the seeds of single sources crossed with each other."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from analysis.stats.study import StudyTrials
from analysis.stats.variance_split import (
    Floats,
    Source,
    component_draws,
    components,
    mean_squares,
    sources,
    sum_interval,
)

CONFIGURATION = "configuration"
LEVEL = 0.95
LIMITS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
LEAST = 2
"""Values of each seed that have to be crossed."""
TOGETHER: Source = ()
"""Source of the `Part` that holds all interactions, which no single source explains."""

Cell = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """With its 95 % interval for normal effects."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Part:
    """A source's part of a variance.

    Args:
        source: searched leaves that are seeds: one, or none for `TOGETHER`.
        share: of the variance, 0 to 1.
        shown: whether the interval of its variance excludes 0.
    """

    source: Source
    share: Estimate
    shown: bool


@dataclass(frozen=True, kw_only=True)
class Split:
    """A standard deviation, and the parts of its square: one for every source, then `TOGETHER`."""

    sd: Estimate
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class SeedSources:
    """What makes seeds differ after ``epoch`` epochs.

    Args:
        levels: of each searched seed, how many values were crossed.
        configurations: that ran with all of them.
        runs: all of those together.
        left_out: runs with a score that are no part of the crossed design, since others of it are missing.
        run: of one run of a configuration, a mean over configurations.
        pair: of the difference of two configurations that ran with equal seeds; None with one configuration.
    """

    epoch: int
    levels: Mapping[str, int]
    configurations: int
    runs: int
    left_out: int
    run: Split
    pair: Split | None


def is_crossed(study: StudyTrials) -> bool:
    """Whether the study searches two seeds or more, so that their parts can be told apart."""
    return len(study.searched_seeds) > 1


def seed_sources(study: StudyTrials, epoch: int) -> SeedSources | None:
    """Of the scores after ``epoch`` epochs; None where the study has no two seeds of `LEAST` values each that ran in
    every combination.

    The configurations are a further factor of the design. A source's component in one configuration is its own plus
    that of its interaction with the configuration. The latter alone is left in differences of paired runs.
    """
    names = study.searched_seeds
    scores: dict[Cell, float] = {}
    for trial in study.trials:
        if epoch in trial.curve and all(name in trial.values for name in names):
            cell = (trial.settings, *(trial.values[name] for name in names))
            scores.setdefault(cell, trial.curve[epoch])
    levels = complete_design(scores)
    varying = [name for name, values in zip((CONFIGURATION, *names), levels, strict=True) if len(values) > 1]
    seeds = [name for name in varying if name != CONFIGURATION]
    if len(seeds) < 2:
        return None
    table = as_array(scores, levels)
    run, pair = splits(table, varying)
    return SeedSources(
        epoch=epoch,
        levels={name: len(values) for name, values in zip(names, levels[1:], strict=True) if name in seeds},
        configurations=len(levels[0]),
        runs=table.size,
        left_out=len(scores) - table.size,
        run=run,
        pair=pair,
    )


def splits(scores: Floats, factors: Sequence[str]) -> tuple[Split, Split | None]:
    """Of the variance of a run, and of the difference of two configurations with equal seeds (None with one).

    Args:
        scores: of a crossed design, an axis for each factor.
        factors: names of the axes: `CONFIGURATION` first, where there are several, then the seeds.
    """
    if CONFIGURATION not in factors:
        return _split(scores, factors, [()]), None
    return _split(scores, factors, [(), (CONFIGURATION,)]), _split(scores, factors, [(CONFIGURATION,)], times=2)


def mean_error(scores: Mapping[Any, float]) -> tuple[float, float] | None:
    """Variance of the mean of one configuration's scores (or of differences) by `Trial.chance`, and its degrees of
    freedom; None where it is not known.

    Runs with one seed each are independent: s² / n. Crossed seeds of single sources are not, since many runs share a
    level. Then the mean squares of the sources stand for what each adds to the mean, with Satterthwaite's degrees of
    freedom. Interactions count more than once in that sum, so that it is on the large side.
    """
    if len(scores) < 2:
        return None
    if not any(isinstance(chance, tuple) for chance in scores):
        values = np.array(list(scores.values()))
        return float(values.var(ddof=1)) / len(values), len(values) - 1.0
    cells = {chance if isinstance(chance, tuple) else (chance,): score for chance, score in scores.items()}
    levels = complete_design(cells)
    table = as_array(cells, levels)
    if table.size < len(cells):
        return None
    factors = [str(axis) for axis in range(table.ndim)]
    squares = mean_squares(table, factors)
    parts = [(squares[factor,][0] / table.size, squares[factor,][1]) for factor in factors]
    variance = sum(part for part, _ in parts)
    return variance, variance**2 / sum(part**2 / freedom for part, freedom in parts) if variance else 1.0


def complete_design(scores: Mapping[Cell, float]) -> list[list[Any]]:
    """Of each axis of the cells the levels, in the order in which they came, such that all combinations have a score.
    While some have none, the level that lacks most of its cells goes."""
    levels: list[list[Any]] = [list(dict.fromkeys(axis)) for axis in zip(*scores, strict=True)]
    while missing := [cell for cell in product(*levels) if cell not in scores]:
        size = len(list(product(*levels)))
        lacking = {
            (axis, at): sum(cell[axis] == level for cell in missing) / (size / len(values))
            for axis, values in enumerate(levels)
            for at, level in enumerate(values)
        }
        axis, at = max(lacking, key=lambda one: (lacking[one], one))
        del levels[axis][at]
        if not levels[axis]:
            return [[] for _ in levels]
    return levels


def as_array(scores: Mapping[Cell, float], levels: Sequence[Sequence[Any]]) -> Floats:
    """The scores of a complete design, an axis for each factor with two levels or more."""
    shape = [len(values) for values in levels if len(values) > 1]
    return np.array([scores[cell] for cell in product(*levels)]).reshape(shape)


def _split(table: Floats, factors: Sequence[str], beside: Sequence[Source], *, times: int = 1) -> Split:
    """Of a variance that is ``times`` the sum of the components of all sources of the seeds, each by itself (where
    ``beside`` has the empty source) or together with what else ``beside`` names."""
    found, draws = components(table, factors), component_draws(table, factors)
    seeds = [name for name in factors if name != CONFIGURATION]
    groups: dict[Source, list[Source]] = {(name,): [(name,)] for name in seeds}
    groups[TOGETHER] = [source for source in sources(seeds) if len(source) > 1]
    terms = {name: [other + source for other in beside for source in group] for name, group in groups.items()}
    values = {name: max(0.0, sum(found[term] for term in those)) for name, those in terms.items()}
    samples = {name: np.sum([draws[term] for term in those], axis=0) for name, those in terms.items()}
    total, whole = sum(values.values()), np.sum(list(samples.values()), axis=0)
    parts = []
    for name, sample in samples.items():
        share = values[name] / total if total else 0.0
        # The sum of all is a positive combination of mean squares, so that it is above 0 in every draw.
        low, high = np.quantile(np.clip(sample / whole, 0.0, 1.0) if total else [0.0, 1.0], LIMITS)
        parts.append(
            Part(
                source=name,
                share=Estimate(value=share, low=min(share, float(low)), high=max(share, float(high))),
                shown=bool(total and np.quantile(sample, LIMITS[0]) > 0),
            )
        )
    every = [term for those in terms.values() for term in those]
    limits = sum_interval(table, factors, every, level=LEVEL)
    value, low, high = (math.sqrt(times * max(0.0, one)) for one in (sum(found[term] for term in every), *limits))
    return Split(sd=Estimate(value=value, low=low, high=high), parts=tuple(parts))
