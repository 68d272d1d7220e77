"""What a person sees while a study runs: a live table on a terminal, plain lines elsewhere."""

import math
import time
from dataclasses import dataclass, field, replace

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from analysis.columns import State
from ipix_tune.config import Value

SHOWN = 20
"""Rows of the live table at most: running trials first, then the newest."""


@dataclass(kw_only=True)
class Row:
    """One trial on the board."""

    values: dict[str, Value]
    state: State = "running"
    epoch: int = 0
    score: float | None = None
    retries: int = 0
    error: str | None = None


@dataclass(kw_only=True)
class Board:
    """Trials by key and what is known of the study as a whole. Draws nothing by itself."""

    metric: str
    mode: str
    total: int
    max_epochs: int
    rows: dict[str, Row] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    finished_here: int = 0

    def best(self) -> tuple[str, float] | None:
        """Key and score of the incumbent: the best last score among trials that ran all their epochs, or, while there
        is none, among those that ran the most; of equals the earliest, as the export chooses."""
        scored = {key: row for key, row in self.rows.items() if row.score is not None and row.state != "failed"}
        if not scored:
            return None
        most = max(row.epoch for row in scored.values())
        sign = 1 if self.mode == "max" else -1
        candidates = {key: row.score for key, row in scored.items() if row.epoch == most and row.score is not None}
        key = max(sorted(candidates), key=lambda one: sign * candidates[one])
        return key, candidates[key]

    def ended(self) -> set[str]:
        """Keys of the trials that will not run any more."""
        return {key for key, row in self.rows.items() if row.state in ("complete", "stopped", "failed")}

    def best_ended(self) -> str | None:
        """Key of the best of those."""
        rows = {key: self.rows[key] for key in self.ended()}
        best = replace(self, rows=rows).best()
        return None if best is None else best[0]

    def count(self, *states: State) -> int:
        return sum(row.state in states for row in self.rows.values())

    def eta_s(self) -> float:
        """Seconds to go, from the trials that ended since this driver started; NaN before the first."""
        if self.finished_here == 0:
            return math.nan
        left = self.total - self.count("complete", "stopped", "failed")
        return (time.monotonic() - self.began) / self.finished_here * left

    def headline(self) -> str:
        """One line: how far, the incumbent, how long yet."""
        done = self.count("complete", "stopped", "failed")
        parts = [
            f"{done}/{self.total} trials ended ({self.count('complete')} complete, {self.count('stopped')} stopped, "
            f"{self.count('failed')} failed), {self.count('running')} running"
        ]
        if (best := self.best()) is not None:
            epochs = self.rows[best[0]].epoch
            parts.append(f"best so far {best[0]} {best[1]:.2f} after {epochs}/{self.max_epochs} epochs")
        eta = self.eta_s()
        if not math.isnan(eta) and done < self.total:
            parts.append(f"about {_duration(eta)} to go")
        return "; ".join(parts)

    def table(self) -> Table:
        """The live table."""
        table = Table(caption=self.headline(), caption_justify="left", expand=False)
        for name in ("trial", "state"):
            table.add_column(name, no_wrap=True)
        table.add_column("epoch", justify="right", no_wrap=True)
        table.add_column(_unit(self.metric), justify="right", no_wrap=True)
        table.add_column("configuration", overflow="fold")
        running = [key for key, row in self.rows.items() if row.state == "running"]
        ended = [key for key, row in self.rows.items() if row.state != "running"]
        room = max(SHOWN - len(running), 0)
        best = self.best()
        for key in sorted([*running, *(ended[-room:] if room else [])]):
            row = self.rows[key]
            style = "bold green" if best is not None and key == best[0] else "" if row.state == "running" else "dim"
            table.add_row(
                key,
                row.state + (f" (retry {row.retries})" if row.retries else ""),
                f"{row.epoch}/{self.max_epochs}",
                "" if row.score is None else f"{row.score:.2f}",
                Text(row.error.splitlines()[0] if row.error else describe(row.values)),
                style=style,
            )
        return table


class Display:
    """The board on a console: redrawn in place on a terminal, a line per event elsewhere."""

    def __init__(self, board: Board, console: Console) -> None:
        self.board = board
        self._console = console
        self._live = (
            Live(get_renderable=board.table, console=console, refresh_per_second=2) if console.is_terminal else None
        )

    def __enter__(self) -> "Display":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def started(self, key: str) -> None:
        self._line(f"{key} starts: {describe(self.board.rows[key].values)}")

    def epoch(self, key: str) -> None:
        row = self.board.rows[key]
        score = "" if row.score is None else f"{self.board.metric} {row.score:.2f}"
        self._line(f"{key} epoch {row.epoch}/{self.board.max_epochs}  {score}")

    def retried(self, key: str) -> None:
        row = self.board.rows[key]
        self._line(f"{key} goes on from its checkpoint, retry {row.retries}: {row.error}")

    def ended(self, key: str) -> None:
        row = self.board.rows[key]
        reason = f": {row.error}" if row.error else ""
        self._line(f"{key} {row.state} after {row.epoch}/{self.board.max_epochs} epochs{reason}")
        self._line(self.board.headline())

    def _line(self, text: str) -> None:
        if self._live is None:
            self._console.print(text, highlight=False, soft_wrap=True, markup=False)


def describe(values: dict[str, Value]) -> str:
    """A configuration in one line; of a dotted name the last part, unless two share it."""
    last = [name.rsplit(".", 1)[-1] for name in values]
    names = [short if last.count(short) == 1 else name for short, name in zip(last, values, strict=True)]
    shown = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in values.values()]
    return " ".join(f"{name}={value}" for name, value in zip(names, shown, strict=True))


def _unit(metric: str) -> str:
    return f"{metric} %" if "iou" in metric else metric


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
