"""What a person sees while a study runs: a live table on a terminal, plain lines elsewhere."""

import math
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from analysis.columns import CONFIRM, Phase, State
from analysis.stats.best import INFEASIBLE, Scored, Settings, Standings, contenders, settings_of, standings
from analysis.stats.objective import Objective, sign_of
from analysis.units import is_percent, stated
from ipix_tune.search.trial_record import scored, trial_number
from ipix_tune.trainer.resources import Value

OVER: tuple[State, ...] = ("complete", "stopped", "infeasible", "failed")
"""States of trials that will not run any more."""
SHOWN = 20
"""Rows of the live table at most: running trials first, then the newest."""
FRONT_SHOWN = 6
"""Trials on the Pareto front that are named at most."""


@dataclass(kw_only=True)
class TrialRow:
    """One trial in the progress table. ``score`` and ``second_score`` are the objectives after ``scored_epoch``, the
    last epoch with a score; ``epoch`` is the last one that it ran."""

    values: dict[str, Value]
    state: State = "running"
    epoch: int = 0
    scored_epoch: int = 0
    score: float | None = None
    second_score: float | None = None
    retries: int = 0
    error: str | None = None
    paused: bool = False
    """It was stopped, and may go on."""
    infeasible: bool = False
    """It has told that it breaks a constraint, and ends."""

    def reported(self, epoch: int, *, score: float | None, second_score: float | None) -> None:
        """The trial ran an epoch; without a finite score, the last one that it had stands."""
        self.epoch = epoch
        if score is not None and math.isfinite(score):
            self.scored_epoch, self.score, self.second_score = epoch, score, second_score

    @property
    def shown(self) -> str:
        """The state as a person sees it."""
        return "paused" if self.paused else self.state

    def scored(self, key: str) -> Scored | None:
        """The trial in the form that `analysis.stats.best` compares; None without a score."""
        return scored(
            key,
            self.values,
            state=INFEASIBLE if self.infeasible else self.state,
            epoch=self.scored_epoch,
            score=self.score,
            second_score=self.second_score,
        )


class Rule(TypedDict):
    """What `analysis.stats.best` has to know of a study."""

    max_epochs: int
    sign: int
    second_sign: int | None


@dataclass(kw_only=True)
class ProgressTable:
    """Trials by key and what is known of the study as a whole. Draws nothing by itself."""

    metric: str
    mode: str
    second_objective: Objective | None = None
    total: int
    max_epochs: int
    phase: Phase = "search"
    rows: dict[str, TrialRow] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    finished_here: int = 0

    def standings(self) -> Standings:
        """The configurations that compete so far, by the rule of `analysis.stats.best`."""
        return standings(self._scored(self.rows), barred=self._barred(), **self.rule)

    def _barred(self) -> set[Settings]:
        """Configurations of which some run breaks a constraint."""
        broke = (row for row in self.rows.values() if row.infeasible or row.state == INFEASIBLE)
        return {settings_of(row.values) for row in broke}

    @property
    def rule(self) -> Rule:
        """What that rule has to know of the study."""
        second = None if self.second_objective is None else self.second_objective.sign
        return {"max_epochs": self.max_epochs, "sign": sign_of(self.mode), "second_sign": second}

    def _scored(self, keys: Iterable[str]) -> list[Scored]:
        found = (self.rows[key].scored(key) for key in keys)
        return [one for one in found if one is not None]

    def best(self) -> tuple[str, float] | None:
        """Key of the trial that stands for the best configuration, and that one's score, a mean over its seeds."""
        found = self.standings().best
        return None if found is None else (self._keys()[found.number], found.score)

    def front(self) -> list[str]:
        """Keys of the trials on the Pareto front, the best by the first objective first."""
        keys = self._keys()
        return [keys[one.number] for one in self.standings().front()]

    def _keys(self) -> dict[int, str]:
        return {trial_number(key): key for key in self.rows}

    def ended(self) -> set[str]:
        """Keys of the trials that will not run any more."""
        return {key for key, row in self.rows.items() if row.state in OVER}

    def contenders(self, *, unsettled: Collection[Settings], top: int = 1) -> set[str]:
        """Keys of those of them that the study may still name at its end: see `analysis.stats.best.contenders`."""
        keys = self._keys()
        found = contenders(self._scored(self.ended()), unsettled=unsettled, top=top, barred=self._barred(), **self.rule)
        return {keys[number] for number in found}

    def count(self, *states: State) -> int:
        return sum(row.state in states for row in self.rows.values())

    def eta_s(self) -> float:
        """Seconds to go, from the trials that ended since this driver started; NaN before the first, and where trials
        that have stopped go on."""
        if self.finished_here == 0 or self._pauses:
            return math.nan
        left = self.total - self.count(*OVER)
        return (time.monotonic() - self.began) / self.finished_here * left

    def headline(self) -> str:
        """One line: how far, the incumbent, how long yet."""
        counts = Counter(row.state for row in self.rows.values())
        done = sum(counts[state] for state in OVER)
        if self.phase == CONFIRM:
            return (
                f"{done} of at most {self.total} runs ended ({counts['complete']} complete, "
                f"{counts['failed']} failed), {counts['running']} running"
            )
        infeasible = f"{counts['infeasible']} infeasible, " if counts["infeasible"] else ""
        so_far = f"{len(self.rows)}/{self.total} trials begun" if self._pauses else f"{done}/{self.total} trials ended"
        parts = [
            f"{so_far} ({counts['complete']} complete, {counts['stopped']} {'paused' if self._pauses else 'stopped'}, "
            f"{infeasible}{counts['failed']} failed), {counts['running']} running"
        ]
        found = self.standings()
        if (best := found.best) is not None:
            keys = self._keys()
            seeds = "" if best.seeds == 1 else f" (mean over {best.seeds} seeds)"
            after = f"after {best.epoch}/{self.max_epochs} epochs{seeds}"
            if self.second_objective is None:
                parts.append(f"best so far {keys[best.number]} {best.score:.2f} {after}")
            else:
                front = [keys[one.number] for one in found.front()]
                parts.append(
                    f"Pareto front so far {describe_front(front)}, best {self.metric} {keys[best.number]} "
                    f"{best.score:.2f} at {self.second_objective.metric} {_number(best.second_score)} {after}"
                )
        eta = self.eta_s()
        if not math.isnan(eta) and done < self.total:
            parts.append(f"about {_duration(eta)} to go")
        return "; ".join(parts)

    @property
    def _pauses(self) -> bool:
        return any(row.paused for row in self.rows.values())

    def table(self) -> Table:
        """The live table."""
        table = Table(caption=self.headline(), caption_justify="left", expand=False)
        for name in ("trial", "state"):
            table.add_column(name, no_wrap=True)
        table.add_column("epoch", justify="right", no_wrap=True)
        table.add_column(_unit(self.metric), justify="right", no_wrap=True)
        if self.second_objective is not None:
            table.add_column(self.second_objective.metric, justify="right", no_wrap=True)
        table.add_column("configuration", overflow="fold")
        running = [key for key, row in self.rows.items() if row.state == "running"]
        ended = [key for key, row in self.rows.items() if row.state != "running"]
        room = max(SHOWN - len(running), 0)
        best = None if self.phase == CONFIRM else self.best()
        leading = set(self.front()) if self.second_objective is not None else set() if best is None else {best[0]}
        for key in sorted([*running, *(ended[-room:] if room else [])]):
            row = self.rows[key]
            style = "bold green" if key in leading else "" if row.state == "running" else "dim"
            table.add_row(
                key,
                row.shown + (f" (retry {row.retries})" if row.retries else ""),
                f"{row.epoch}/{self.max_epochs}",
                "" if row.score is None else f"{row.score:.2f}",
                *([] if self.second_objective is None else [_number(row.second_score)]),
                Text(row.error.splitlines()[0] if row.error else describe(row.values)),
                style=style,
            )
        return table


class Display:
    """The progress table on a console: redrawn in place on a terminal, a line per event elsewhere."""

    def __init__(self, progress: ProgressTable, console: Console) -> None:
        self.progress = progress
        self._console = console
        self._live = (
            Live(get_renderable=progress.table, console=console, refresh_per_second=2) if console.is_terminal else None
        )

    def __enter__(self) -> "Display":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def started(self, key: str, *, again: bool = False) -> None:
        row = self.progress.rows[key]
        how = f"goes on after epoch {row.epoch}" if again else f"starts: {describe(row.values)}"
        self._line(f"{key} {how}")

    def epoch(self, key: str) -> None:
        row = self.progress.rows[key]
        late = "" if row.scored_epoch == row.epoch else f" after epoch {row.scored_epoch}"
        score = "" if row.score is None else f"{self.progress.metric} {row.score:.2f}{late}"
        second = self.progress.second_objective
        beside = "" if second is None else f"  {second.metric} {_number(row.second_score)}"
        self._line(f"{key} epoch {row.epoch}/{self.progress.max_epochs}  {score}{beside}")

    def retried(self, key: str) -> None:
        row = self.progress.rows[key]
        self._line(f"{key} goes on from its checkpoint, retry {row.retries}: {row.error}")

    def ended(self, key: str) -> None:
        row = self.progress.rows[key]
        reason = f": {row.error}" if row.error else ""
        self._line(f"{key} {row.shown} after {row.epoch}/{self.progress.max_epochs} epochs{reason}")
        self._line(self.progress.headline())

    def _line(self, text: str) -> None:
        if self._live is None:
            self._console.print(text, highlight=False, soft_wrap=True, markup=False)


def describe_front(keys: Sequence[str]) -> str:
    """How many, and which."""
    shown = [*keys[:FRONT_SHOWN], *(["..."] if len(keys) > FRONT_SHOWN else [])]
    return f"{len(keys)} trial{'' if len(keys) == 1 else 's'} ({', '.join(shown)})"


def describe(values: dict[str, Value]) -> str:
    """A configuration in one line; of a dotted name the last part, unless two share it."""
    last = [name.rsplit(".", 1)[-1] for name in values]
    names = [short if last.count(short) == 1 else name for short, name in zip(last, values, strict=True)]
    shown = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in values.values()]
    return " ".join(f"{name}={value}" for name, value in zip(names, shown, strict=True))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _unit(metric: str) -> str:
    if unit := stated(metric):
        return f"{metric} {unit}"
    return f"{metric} %" if is_percent(metric) else str(metric)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
