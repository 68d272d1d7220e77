"""Which classes gain and which lose between two configurations, over the seeds that both ran to the end with."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from analysis.ingest.tables import Tables
from analysis.stats.bootstrap import LEVEL
from analysis.stats.distributions import student
from analysis.stats.seed_sources import mean_error
from analysis.stats.sensitivity.anova_basis import Floats
from analysis.stats.study import StudyTrials, Trial

LEAST = 3
"""Shared seeds below which no interval is given."""
SHOWN = 4
"""Configurations whose learning curves are shown."""


@dataclass(frozen=True, kw_only=True)
class ClassChange:
    """IoU of one class, first - second configuration, in points; ``low`` and ``high`` hold for all classes at once."""

    name: str
    change: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class ClassChanges:
    """``classes``, largest gain first, over ``seeds`` paired seeds. ``left_out``: classes that a run did not score."""

    first: Trial
    second: Trial
    seeds: int
    classes: tuple[ClassChange, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LostClass:
    """A class whose IoU was 0 at every evaluation of every run of a configuration. ``elsewhere``: its highest IoU in
    another run of the study, and that run; None where no run found a pixel of it."""

    name: str
    elsewhere: tuple[float, Trial] | None


@dataclass(frozen=True, kw_only=True)
class SeedBand:
    """Mean score by epoch of one configuration over ``seeds`` seeds, and the 95 % interval of that mean by Student's
    t; all (epochs,)."""

    trial: Trial
    seeds: int
    epochs: tuple[int, ...]
    mean: Floats
    low: Floats
    high: Floats


def by_seed(study: StudyTrials, trial: Trial) -> dict[Hashable, Trial]:
    """Runs of a configuration that reached the end, by seed; of equal seeds the first."""
    found: dict[Hashable, Trial] = {}
    for other in study.configurations.get(trial.settings, ()):
        found.setdefault(other.chance, other)
    return found


def rival(study: StudyTrials, best: Trial) -> Trial | None:
    """The configuration to hold against the best: of those with at least `LEAST` seeds in common the first trial's,
    else the one with the most; None where there is none."""
    ours = by_seed(study, best)
    shared = {
        trials[0].number: len(ours.keys() & by_seed(study, trials[0]).keys())
        for settings, trials in study.configurations.items()
        if settings != best.settings
    }
    able = [number for number, count in shared.items() if count >= LEAST]
    if not able:
        return None
    start = study.trials[0].settings
    trials = {trial.number: trial for trial in study.complete}
    return trials[min(able, key=lambda one: (trials[one].settings != start, -shared[one], one))]


def class_changes(study: StudyTrials, tables: Tables, first: Trial, second: Trial) -> ClassChanges | None:
    """Per-class IoU at the end, paired by seed, with Student's t intervals that hold for all classes at once
    (Bonferroni); None with fewer than `LEAST` shared seeds, or where no class was scored."""
    one, other = by_seed(study, first), by_seed(study, second)
    seeds = sorted(one.keys() & other.keys(), key=str)
    names = tables.facts.get("classes") or []
    columns = {index: f"val/iou/{index}" for index in range(len(names))}
    columns = {index: column for index, column in columns.items() if column in tables.history.column_names}
    if len(seeds) < LEAST or not columns:
        return None
    ends = _ends(tables, study.max_epochs, list(columns.values()))
    changes, left_out = {}, []
    for index, column in columns.items():
        pairs = [(ends.get(run.run_id, {}).get(column) for run in (one[seed], other[seed])) for seed in seeds]
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        if len(known) < len(seeds):
            left_out.append(names[index])
        else:
            changes[names[index]] = {seed: a - b for seed, (a, b) in zip(seeds, known, strict=True)}
    if not changes or mean_error(next(iter(changes.values()))) is None:
        return None
    found = []
    for name, gaps in changes.items():
        mean, reach = fmean(gaps.values()), _reach(gaps, comparisons=len(changes))
        found.append(ClassChange(name=name, change=mean, low=mean - reach, high=mean + reach))
    return ClassChanges(
        first=first,
        second=second,
        seeds=len(seeds),
        classes=tuple(sorted(found, key=lambda one: -one.change)),
        left_out=tuple(left_out),
    )


def lost_classes(study: StudyTrials, tables: Tables, best: Trial) -> tuple[LostClass, ...]:
    """The classes of which no run of a configuration found a single pixel, by their number. Those that one of its
    evaluations left out are not among them: no held-out mask shows these, and where they were predicted, their IoU was
    0 for that."""
    names = tables.facts.get("classes") or []
    columns = {name: f"val/iou/{index}" for index, name in enumerate(names)}
    columns = {name: column for name, column in columns.items() if column in tables.history.column_names}
    ours = {run.run_id for run in study.configurations.get(best.settings, ())} | {best.run_id}
    highest: dict[str, dict[str, float]] = {name: {} for name in columns}
    absent: set[str] = set()
    for row in tables.history.select(["run_id", *columns.values()]).to_pylist():
        known = {name for name, column in columns.items() if row[column] is not None}
        for name in known:
            highest[name][row["run_id"]] = max(row[columns[name]], highest[name].get(row["run_id"], 0.0))
        if known and row["run_id"] in ours:
            absent |= columns.keys() - known
    found = []
    for name, by_run in highest.items():
        scored = [value for run, value in by_run.items() if run in ours]
        if scored and max(scored) == 0 and name not in absent:
            others = [(by_run.get(trial.run_id, 0.0), trial) for trial in study.trials if trial.run_id not in ours]
            most = max(others, key=lambda one: (one[0], -one[1].number), default=None)
            found.append(LostClass(name=name, elsewhere=most if most is not None and most[0] > 0 else None))
    return tuple(found)


def _reach(scores: Mapping[Hashable, float], *, comparisons: int = 1) -> float:
    """Half the 95 % interval of the mean of several scores by seed; NaN where it is not known."""
    error = mean_error(scores)
    if error is None:
        return math.nan
    return float(student(1 - (1 - LEVEL) / 2 / comparisons, error[1])) * math.sqrt(error[0])


def _ends(tables: Tables, epoch: int, columns: list[str]) -> dict[str, dict[str, float]]:
    """Scores after ``epoch`` by run and column."""
    rows = tables.history.select(["run_id", "epoch", *columns]).to_pylist()
    return {row["run_id"]: row for row in rows if row["epoch"] == epoch}


def seed_bands(study: StudyTrials) -> tuple[SeedBand, ...]:
    """Learning curves of the configurations with at least 2 seeds at full length, the best `SHOWN` first."""
    several = [study.runs_of(one) for one in study.ranked if one.full and one.seeds > 1]
    found = []
    for runs in several[:SHOWN]:
        epochs = sorted(set.intersection(*(set(run.curve) for run in runs)))
        scores = np.array([[run.curve[epoch] for epoch in epochs] for run in runs])
        half = np.array([_reach(dict(zip([run.chance for run in runs], column, strict=True))) for column in scores.T])
        mean = scores.mean(axis=0)
        found.append(
            SeedBand(trial=runs[0], seeds=len(runs), epochs=tuple(epochs), mean=mean, low=mean - half, high=mean + half)
        )
    return tuple(found)
