"""A study's trials in the form that all statistics share: scores by epoch, levels of equal budget, the incumbent."""

import json
import math
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean as mean
from typing import Any

from analysis.columns import CONFIRM, PARAM_PREFIX, Phase
from analysis.kept import Digested
from analysis.tables import Tables

DRAWN = 12
"""Parameters that fit into one figure."""

Settings = tuple[tuple[str, str], ...]
"""A configuration without its seed: names, and values as text, in the order of the names."""


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
    against: float | None = None
    """The last value of the second objective, where the study has one."""
    arm: str | None = None
    """Of a confirming run."""

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
        """The configuration without its seed."""
        return tuple(sorted((name, repr(value)) for name, value in self.values.items() if name != "seed"))


@dataclass(frozen=True, kw_only=True)
class Against:
    """A second objective."""

    metric: str
    mode: str

    @property
    def sign(self) -> int:
        """1 where more is better, else -1."""
        return 1 if self.mode == "max" else -1


@dataclass(frozen=True, kw_only=True)
class Study(Digested):
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
    against: Against | None = None

    @property
    def sign(self) -> int:
        """1 where more is better, else -1."""
        return 1 if self.mode == "max" else -1

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
        """Searched leaves without the seed, which is no choice."""
        return tuple(name for name in self.space if name != "seed")

    @cached_property
    def drawn_parameters(self) -> tuple[str, ...]:
        """Those that figures of all parameters show: of more than `DRAWN` the ones that were active in most trials."""
        active = {name: sum(name in trial.values for trial in self.trials if trial.curve) for name in self.parameters}
        most = sorted(self.parameters, key=lambda name: -active[name])[:DRAWN]
        return tuple(name for name in self.parameters if name in most)

    def seeds_of(self, trial: Trial) -> int:
        """Seeds with which the trial's configuration ran all its epochs, at least 1."""
        return max(1, len({other.seed for other in self.configurations.get(trial.settings, ())}))

    def mean_score(self, trial: Trial) -> float | None:
        """Mean of the last scores over the seeds that ran all epochs; the trial's own where it did not."""
        same = self.configurations.get(trial.settings, ())
        if trial not in same:
            return trial.score
        return sum(other.score or 0.0 for other in same) / len(same)

    def best(self) -> Trial | None:
        """The configuration with the best last score, a mean over its seeds, among trials that ran all their epochs;
        where there is none, among those that ran the longest. Scores at different budgets are never compared. With two
        objectives it is the front's end: of equal scores that with the better second one."""
        pool = self.complete or self._longest()
        if not pool:
            return None
        scores: dict[Settings, list[float]] = {}
        seconds: dict[Settings, list[float]] = {}
        sign = 0 if self.against is None else self.against.sign
        for trial in pool:
            scores.setdefault(trial.settings, []).append(self.sign * (trial.score or 0.0))
            seconds.setdefault(trial.settings, []).append(sign * (trial.against or 0.0))
        means = {settings: (mean(scores[settings]), mean(seconds[settings])) for settings in scores}
        return max(pool, key=lambda trial: (*means[trial.settings], -trial.number))

    def _longest(self) -> tuple[Trial, ...]:
        scored = [trial for trial in self.trials if trial.epochs in trial.curve and trial.state != "failed"]
        most = max((trial.epochs for trial in scored), default=0)
        return tuple(trial for trial in scored if trial.epochs == most)

    def seeds_each(self) -> str:
        """How many seeds a configuration was run with, in words."""
        seeds: dict[Settings, set[int | None]] = {}
        for trial in self.trials:
            seeds.setdefault(trial.settings, set()).add(trial.seed)
        low, high = min(map(len, seeds.values())), max(map(len, seeds.values()))
        return f"{low} to {high} seeds each" if low < high else f"{low} seed{'s' if low > 1 else ''} each"

    def at(self, epoch: int) -> dict[int, float]:
        """Score after ``epoch`` by trial number, of all trials that got there."""
        return {trial.number: trial.curve[epoch] for trial in self.trials if epoch in trial.curve}

    def budgets(self) -> tuple[int, ...]:
        """Epochs at which trials can be compared: the rungs, and the full length."""
        return tuple(sorted({*self.rungs, self.max_epochs}))

    def budget_with(self, least: int) -> int | None:
        """The largest of :meth:`budgets` that at least ``least`` trials reached, or None."""
        return max((epoch for epoch in self.budgets() if len(self.at(epoch)) >= least), default=None)


def from_tables(tables: Tables, *, metric: str | None = None, phase: Phase = "search") -> Study:
    """The study in the tables, scored by ``metric``; None: by its own objective. Its trials are those of one phase:
    runs of a confirmation were chosen for their scores, and would bias whatever is said of the search."""
    everything = tables.runs.to_pylist()
    rows = [row for row in everything if (row["phase"] == CONFIRM) == (phase == CONFIRM)]
    metric, mode = metric or everything[0]["metric"], everything[0]["mode"]
    second = everything[0].get("against_metric")
    curves: dict[str, dict[int, float]] = {}
    ends: dict[str, float] = {}
    if metric in tables.history.column_names:
        for run_id, epoch, when, score in zip(
            *(tables.history[name].to_pylist() for name in ("run_id", "epoch", "time", metric)), strict=True
        ):
            ends[run_id] = max(ends.get(run_id, 0.0), when or 0.0)
            if score is not None and math.isfinite(score):
                curves.setdefault(run_id, {})[epoch] = score
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
            against=row.get("against"),
            arm=row["arm"],
        )
        for row in rows
    ]
    scheduler = tables.facts.get("scheduler") or {}
    return Study(
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
        against=Against(metric=second, mode=everything[0]["against_mode"]) if second else None,
    )


def _as_chosen(value: Any, dimension: dict[str, Any] | None) -> Any:
    """The choice that a table's cell stands for: a column of several kinds holds 1 as 1.0, or as text."""
    for choice in (dimension or {}).get("choices") or ():
        if value == choice and isinstance(value, bool) == isinstance(choice, bool):
            return choice
        if value == json.dumps(choice):
            return choice
    return value
