"""A study's trials in the form that all statistics share: scores by epoch, levels of equal budget, the incumbent."""

import json
import math
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from analysis.columns import CONFIRM, PARAM_PREFIX, Phase
from analysis.compute.cache import Digested
from analysis.ingest.tables import Tables
from analysis.stats.best import (
    INFEASIBLE,
    SEEDS,
    Scored,
    Settings,
    Standing,
    Standings,
    chance_of,
    settings_of,
    standings,
)
from analysis.stats.objective import Objective, sign_of
from analysis.units import Metric

DRAWN = 12
"""Parameters that fit into one figure."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run. ``values`` are the searched leaves that were active; ``curve`` maps epochs to scores."""

    run_id: str
    number: int
    state: str
    error: str | None
    retries: int
    seed: int | None
    epochs: int
    values: dict[str, Any]
    curve: dict[int, float]
    runtime_s: float
    ended_at: float
    second_score: float | None = None
    """The second objective after the epoch of the last score, where the study has one."""
    arm: str | None = None
    """Name of the configuration that a confirming run belongs to; None for a trial of the search."""

    @property
    def called(self) -> str:
        """How the report names its configuration."""
        return self.arm or f"trial {self.number}"

    @cached_property
    def score(self) -> float | None:
        """The last score."""
        return self.curve[max(self.curve)] if self.curve else None

    @cached_property
    def settings(self) -> Settings:
        """The configuration without its seeds."""
        return settings_of(self.values)

    @cached_property
    def chance(self) -> Hashable:
        """By what its luck was drawn: its seed, or a tuple of the seeds of single sources (`analysis.stats.best`)."""
        return chance_of(self.values, self.seed)

    @cached_property
    def scored(self) -> Scored | None:
        """The trial in the form that `analysis.stats.best` compares; None without a score."""
        if self.score is None:
            return None
        return Scored(
            number=self.number,
            settings=self.settings,
            seed=self.chance,
            state=self.state,
            epoch=max(self.curve),
            score=self.score,
            second_score=self.second_score,
        )


@dataclass(frozen=True, kw_only=True)
class StudyTrials(Digested):
    """All trials by number, and what they share."""

    name: str
    metric: str
    mode: str
    max_epochs: int
    rungs: tuple[int, ...]
    grace_epochs: int
    reduction: int
    space: dict[str, dict[str, Any]]
    trials: tuple[Trial, ...]
    split_hash: str | None
    git_commit: str | None
    second_objective: Objective | None = None
    planned: int | None = None
    """How many trials the search will have at most; None where its logs do not say."""

    @property
    def sign(self) -> int:
        """1 where more is better, else -1."""
        return sign_of(self.mode)

    @cached_property
    def complete(self) -> tuple[Trial, ...]:
        """Trials that ran all their epochs and have a score for the last of them."""
        return tuple(trial for trial in self.trials if trial.state == "complete" and trial.epochs in trial.curve)

    @cached_property
    def configurations(self) -> dict[Settings, tuple[Trial, ...]]:
        """:attr:`complete` by configuration, in the order of their first trials."""
        found: dict[Settings, list[Trial]] = {}
        for trial in self.complete:
            found.setdefault(trial.settings, []).append(trial)
        return {settings: tuple(trials) for settings, trials in found.items()}

    @property
    def parameters(self) -> tuple[str, ...]:
        """Searched leaves without the seeds, which are no choices."""
        return tuple(name for name in self.space if name not in SEEDS)

    @property
    def searched_seeds(self) -> tuple[str, ...]:
        """Searched leaves that are seeds, in the order of `SEEDS`."""
        return tuple(name for name in SEEDS if name in self.space)

    @cached_property
    def drawn_parameters(self) -> tuple[str, ...]:
        """The parameters that figures of all of them show: at most `DRAWN`, those that were active in most trials."""
        active = {name: sum(name in trial.values for trial in self.trials if trial.curve) for name in self.parameters}
        most = sorted(self.parameters, key=lambda name: -active[name])[:DRAWN]
        return tuple(name for name in self.parameters if name in most)

    @cached_property
    def standings(self) -> Standings:
        """The configurations that compete, by the rule of `analysis.stats.best`."""
        return standings(
            (trial.scored for trial in self.trials if trial.scored is not None),
            max_epochs=self.max_epochs,
            sign=self.sign,
            second_sign=None if self.second_objective is None else self.second_objective.sign,
            barred=self.barred,
        )

    @cached_property
    def barred(self) -> frozenset[Settings]:
        """Configurations of which some run breaks a constraint of the study."""
        return frozenset(trial.settings for trial in self.trials if trial.state == INFEASIBLE)

    @cached_property
    def ranked(self) -> tuple[Standing, ...]:
        """The configurations that compete, the best first."""
        return tuple(self.standings.ranked())

    @cached_property
    def _standing(self) -> dict[Settings, Standing]:
        return {self.by_number[one.number].settings: one for one in self.ranked}

    @cached_property
    def by_number(self) -> dict[int, Trial]:
        """All trials by number."""
        return {trial.number: trial for trial in self.trials}

    def runs_of(self, one: Standing) -> tuple[Trial, ...]:
        """The trials behind a configuration's mean, one for every seed, the earliest first."""
        return tuple(self.by_number[run.number] for run in one.trials)

    def standing_of(self, trial: Trial) -> Standing | None:
        """The trial's configuration among those that compete; None where it does not."""
        return self._standing.get(trial.settings)

    def seeds_of(self, trial: Trial) -> int:
        """Seeds behind the score of the trial's configuration, at least 1."""
        found = self.standing_of(trial)
        return 1 if found is None else found.seeds

    def mean_score(self, trial: Trial) -> float | None:
        """Mean score of the trial's configuration over its seeds; the trial's own where its configuration does not
        compete."""
        found = self.standing_of(trial)
        return trial.score if found is None else found.score

    def best(self) -> Trial | None:
        """The earliest run of the best configuration by the rule of `analysis.stats.best`; None while there is none."""
        return self.by_number[self.ranked[0].number] if self.ranked else None

    def seeds_each(self) -> str:
        """How many seeds a configuration was run with, in words."""
        seeds: dict[Settings, set[Hashable]] = {}
        for trial in self.trials:
            seeds.setdefault(trial.settings, set()).add(trial.chance)
        low, high = min(map(len, seeds.values())), max(map(len, seeds.values()))
        return f"{low} to {high} seeds each" if low < high else f"{low} seed{'s' if low > 1 else ''} each"

    def at(self, epoch: int) -> dict[int, float]:
        """Score after ``epoch`` by trial number, of all trials that got there."""
        return {trial.number: trial.curve[epoch] for trial in self.trials if epoch in trial.curve}

    def lengths(self) -> tuple[int, ...]:
        """Epochs that trials with a score ran, each number once."""
        return tuple(sorted({trial.epochs for trial in self.trials if trial.curve}))

    def lengths_each(self) -> str:
        """How long trials with a score ran, in words."""
        found = self.lengths()
        return f"{found[0]} epoch{'s' * (found[0] != 1)} each" if len(found) == 1 else "of different budgets"

    def budgets(self) -> tuple[int, ...]:
        """Epochs at which trials can be compared: the rungs, and the full length."""
        return tuple(sorted({*self.rungs, self.max_epochs}))


def from_tables(tables: Tables, *, metric: str | None = None, phase: Phase = "search") -> StudyTrials:
    """The study in the tables, scored by ``metric``; None: by its own objective. Its trials are those of one phase:
    runs of a confirmation were chosen for their scores, and would bias whatever is said of the search."""
    everything = tables.runs.to_pylist()
    rows = [row for row in everything if (row["phase"] == CONFIRM) == (phase == CONFIRM)]
    metric, mode = with_unit(metric or everything[0]["metric"], tables), everything[0]["mode"]
    second = everything[0].get("against_metric")
    curves = _curves(tables, metric)
    seconds = {} if second is None else _curves(tables, second)
    ends: dict[str, float] = {}
    for run_id, when in zip(*(tables.history[name].to_pylist() for name in ("run_id", "time")), strict=True):
        ends[run_id] = max(ends.get(run_id, 0.0), when or 0.0)
    space = tables.facts.get("space") or {}
    trials = [
        Trial(
            run_id=row["run_id"],
            number=row["trial"],
            state=row["state"],
            error=row["error"],
            retries=row["retries"],
            seed=row["seed"],
            epochs=row["epochs"],
            values={
                name.removeprefix(PARAM_PREFIX): _as_chosen(value, space.get(name.removeprefix(PARAM_PREFIX)))
                for name, value in row.items()
                if name.startswith(PARAM_PREFIX) and value is not None
            },
            curve=curves.get(row["run_id"], {}),
            runtime_s=row["runtime_s"] or 0.0,
            ended_at=ends.get(row["run_id"], row["started"] or 0.0),
            second_score=seconds.get(row["run_id"], {}).get(max(curves.get(row["run_id"], {}), default=0)),
            arm=row["arm"],
        )
        for row in rows
    ]
    scheduler = tables.facts.get("scheduler") or {}
    return StudyTrials(
        name=everything[0]["study"],
        metric=metric,
        mode=mode,
        max_epochs=scheduler.get("max_epochs") or max(row["epochs"] for row in everything),
        rungs=tuple(scheduler.get("rungs") or ()),
        grace_epochs=scheduler.get("grace_epochs") or 1,
        reduction=scheduler.get("reduction") or 3,
        space=space,
        trials=tuple(sorted(trials, key=lambda trial: trial.number)),
        split_hash=(rows or everything)[0]["split_hash"],
        git_commit=(rows or everything)[0]["git_commit"],
        second_objective=Objective(metric=with_unit(second, tables), mode=everything[0]["against_mode"])
        if second
        else None,
        planned=scheduler.get("trials"),
    )


def with_unit(metric: str, tables: Tables) -> Metric:
    """The metric, with the unit that the study states for it."""
    objective = tables.facts.get("objective") or {}
    known = [one for one in (objective, objective.get("against") or {}) if one.get("metric") == metric]
    return Metric(metric, known[0].get("unit") if known else None)


def _curves(tables: Tables, metric: str) -> dict[str, dict[int, float]]:
    """The metric's finite values by run and epoch; none where no run logged it."""
    found: dict[str, dict[int, float]] = {}
    if metric in tables.history.column_names:
        columns = (tables.history[name].to_pylist() for name in ("run_id", "epoch", metric))
        for run_id, epoch, value in zip(*columns, strict=True):
            if value is not None and math.isfinite(value):
                found.setdefault(run_id, {})[epoch] = value
    return found


def _as_chosen(value: Any, dimension: dict[str, Any] | None) -> Any:
    """The choice that a table's cell stands for: a column of several kinds holds 1 as 1.0, or as text."""
    for choice in (dimension or {}).get("choices") or ():
        if value == choice and isinstance(value, bool) == isinstance(choice, bool):
            return choice
        if value == json.dumps(choice):
            return choice
    return value
