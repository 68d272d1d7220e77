"""Warm start: the sampler learns from the trials of earlier studies, which stay no trials of this one.

Scores of two studies are never compared: what TPE is shown of a trial is its rank within its own study.
`docs/explanation/search.md` has the rules.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, create_trial

from ipix_tune.config.dimension import contains, describe_range, nearest_value
from ipix_tune.config.search_space import SearchSpace, recorded_values
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.search.rank_transform import ranks
from ipix_tune.trainer.resources import Value
from trainers.common.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from analysis.stats.study import StudyTrials as Recorded
    from analysis.stats.study import Trial

USED = ("complete", "stopped")
"""States of trials that say something about their configuration."""


class WarmStartError(UserError):
    """An earlier study cannot be learned from."""


@dataclass(frozen=True, kw_only=True)
class Past:
    """A trial of an earlier study, and where it stands in that study: see `ipix_tune.search.rank_transform.ranks`."""

    values: dict[str, Value]
    rank: float


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What an earlier study gives: the trials used, and how many were left out for which reason."""

    folder: str
    used: list[Past]
    left_out: Counter[str]

    def describe(self) -> str:
        """`studies/old: 12 of 14 trials used; left out: 2 failed`."""
        trials = len(self.used) + self.left_out.total()
        without = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
        return f"{self.folder}: {len(self.used)} of {trials} trials used" + (
            f"; left out: {without}" if without else ""
        )


def past_trials(study: StudyConfig, space: SearchSpace) -> list[FrozenTrial]:
    """The trials that the study's sampler learns from, as Optuna's; none where it is not TPE.

    Raises:
        WarmStartError: see :func:`earlier_studies`.
    """
    if study.sampler.name != "tpe":
        return []
    return list(foreign([past for earlier in earlier_studies(study, space) for past in earlier.used], space))


def earlier_studies(study: StudyConfig, space: SearchSpace) -> list[Earlier]:
    """What every study under `warm_start` gives.

    Raises:
        WarmStartError: a folder is not there or has no tables, its trials were not scored by this study's metric, or
            none of them can be used.
    """
    return [_earlier(folder, study, space) for folder in study.warm_start]


def describe_warm_start(study: StudyConfig, space: SearchSpace) -> list[str]:
    """A line for every earlier study.

    Raises:
        WarmStartError: see :func:`earlier_studies`.
    """
    unused = "" if study.sampler.name == "tpe" else f"; {study.sampler.name} does not use them"
    return [earlier.describe() + unused for earlier in earlier_studies(study, space)]


def _earlier(folder: str, study: StudyConfig, space: SearchSpace) -> Earlier:
    from analysis.stats.study import from_tables

    found = tables_in(folder)
    metric = study.objective.metric
    if metric not in found.history.column_names:
        known = sorted(set(found.history.column_names) - {"run_id", "epoch", "time"})
        raise WarmStartError(
            f"warm_start: {folder}: the table history has no column {metric} (objective.metric)"
            f"{did_you_mean(metric, known)}; it has {', '.join(known) or 'no metric'}"
        )
    recorded = from_tables(found, metric=metric)
    configs = {row["run_id"]: json.loads(row["config"]) for row in found.runs.to_pylist()}
    where = _standing(recorded)
    used: list[Past] = []
    left_out: Counter[str] = Counter()
    for trial in recorded.trials:
        values = recorded_values(space, configs[trial.run_id])
        reason = _unusable(trial, values, space) or _meant_otherwise(space, configs[trial.run_id])
        if reason is not None:
            left_out[reason] += 1
            continue
        if trial.run_id not in where:
            left_out["without a score at a rung"] += 1
            continue
        used.append(
            Past(
                values={name: nearest_value(space.dimensions[name], value) for name, value in values.items()},
                rank=where[trial.run_id],
            )
        )
    earlier = Earlier(folder=folder, used=used, left_out=left_out)
    if not used:
        raise WarmStartError(f"warm_start: {earlier.describe()}; leave this folder out")
    return earlier


def tables_in(folder: str) -> Any:
    """The tables of an earlier study, given by its folder or by `tables/` in it.

    Raises:
        WarmStartError: it is not there, or has none.
    """
    from analysis.errors import LogsError
    from analysis.ingest import tables

    place = Path(folder)
    if not place.is_dir():
        raise WarmStartError(f"warm_start: {folder}: there is no such folder; give an earlier study's, with tables/")
    try:
        return tables.load(place.parent if (place / tables.RUNS).is_file() else place)
    except LogsError as error:
        raise WarmStartError(f"warm_start: {error}") from None


def _standing(recorded: "Recorded") -> dict[str, float]:
    """The ranks of the trials that can be used."""
    trials = [trial for trial in recorded.trials if trial.state in USED and trial.curve]
    found = ranks([trial.curve for trial in trials], stopped=[trial.state == "stopped" for trial in trials])
    return {trial.run_id: where for trial, where in zip(trials, found, strict=True) if where is not None}


def _unusable(trial: "Trial", values: Mapping[str, Value], space: SearchSpace) -> str | None:
    """Why a trial says nothing about this study's space, or None."""
    if trial.state not in USED:
        return trial.state
    if not trial.curve:
        return "without a score"
    if trial.state == "complete" and trial.epochs not in trial.curve:
        return "without a score of the last epoch"
    for name in space.active(values):
        dimension = space.dimensions[name]
        if name not in values:
            return f"without {name}"
        if not contains(dimension, values[name]):
            return f"with {name} outside {describe_range(dimension)}"
    return None


def _meant_otherwise(space: SearchSpace, config: Mapping[str, Any]) -> str | None:
    """Why an earlier version's training was another than its config would be now, or None."""
    refused = ", ".join(space.trainer.refused_together(config))
    return f"with {refused} where it is refused now: its values mean something else" if refused else None


def foreign(past: Sequence[Past], space: SearchSpace) -> Iterator[FrozenTrial]:
    """Earlier studies' trials as Optuna's, worst rank first, numbered below 0 so that TPE takes them for the oldest."""
    distributions = space.fixed_distributions()
    for number, one in enumerate(sorted(past, key=lambda one: one.rank), -len(past)):
        trial = create_trial(
            value=one.rank,
            params=dict(one.values),
            distributions={name: distributions[name] for name in one.values},
        )
        trial.number = number
        yield trial
