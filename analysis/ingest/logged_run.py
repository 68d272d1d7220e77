"""One run as any reader gives it."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True)
class LoggedRun:
    """What was logged of one W&B run.

    ``history`` maps an epoch to its row; the first row of an epoch counts. ``ended`` says whether the run's end was
    logged. ``started`` is seconds since 1970, ``runtime_s`` seconds.
    """

    run_id: str
    group: str = ""
    job_type: str = ""
    started: float | None = None
    runtime_s: float | None = None
    ended: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: dict[int, dict[str, Any]] = field(default_factory=dict)

    def add_row(self, row: dict[str, Any]) -> None:
        """Keep a history row, unless its epoch is known already or it has none."""
        if isinstance(row.get("epoch"), int | float):
            self.history.setdefault(int(row["epoch"]), row)

    def continued_by(self, later: "LoggedRun") -> "LoggedRun":
        """This run with what a later part of it logged: the first row of an epoch, the last summary and config."""
        return LoggedRun(
            run_id=self.run_id,
            group=later.group or self.group,
            job_type=later.job_type or self.job_type,
            started=self.started if self.started is not None else later.started,
            runtime_s=(self.runtime_s or 0.0) + (later.runtime_s or 0.0),
            ended=later.ended,
            config={**self.config, **later.config},
            summary={**{name: value for name, value in self.summary.items() if name != "state"}, **later.summary},
            history={**later.history, **self.history},
        )

    def seen_twice(self, served: "LoggedRun") -> "LoggedRun":
        """This run, read from files, with what the server has of the same run: every epoch once, the files' row where
        both have it. How it ended is said by the files if they know, else by the server."""
        summary = {**served.summary, **self.summary}
        if not self.ended and "state" in served.summary:
            summary["state"] = served.summary["state"]
        return LoggedRun(
            run_id=self.run_id,
            group=self.group or served.group,
            job_type=self.job_type or served.job_type,
            started=self.started if self.started is not None else served.started,
            runtime_s=max(self.runtime_s or 0.0, served.runtime_s or 0.0),
            ended=self.ended or served.ended,
            config={**served.config, **self.config},
            summary=summary,
            history={**served.history, **self.history},
        )
