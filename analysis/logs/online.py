"""Runs of a study from a W&B server, through W&B's public API."""

from datetime import UTC, datetime
from typing import Any

from analysis.errors import LogsError
from analysis.logs.run import LoggedRun


def read_project(project: str, *, study: str, api: Any = None) -> list[LoggedRun]:
    """All runs of ``study`` (their group) in ``entity/project``.

    Args:
        api: a `wandb.Api`; none: one from the environment's login.

    Raises:
        LogsError: the server refuses, or there are no such runs.
    """
    try:
        if api is None:
            import wandb

            api = wandb.Api()
        found = [_run(run) for run in api.runs(project, filters={"group": study})]
    except Exception as error:
        raise LogsError(f"W&B project {project}: cannot be read: {error}; are you logged in (wandb login)?") from None
    if not found:
        raise LogsError(f"W&B project {project} has no run with group {study}")
    return sorted(found, key=lambda run: run.run_id)


def _run(run: Any) -> LoggedRun:
    summary = dict(run.summary.items())
    created = datetime.fromisoformat(run.created_at.replace("Z", "+00:00"))
    logged = LoggedRun(
        run_id=run.id,
        group=run.group or "",
        job_type=run.job_type or "",
        started=(created if created.tzinfo else created.replace(tzinfo=UTC)).timestamp(),
        runtime_s=summary.get("_runtime"),
        ended=run.state in ("finished", "failed", "crashed", "killed"),
        config={name: value for name, value in run.config.items() if not name.startswith("_")},
        summary=summary,
    )
    for row in run.scan_history():
        logged.add_row({name: value for name, value in row.items() if value is not None})
    return logged
