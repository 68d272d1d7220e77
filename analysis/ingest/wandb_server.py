"""Runs of a study from a W&B server, through W&B's public API."""

from datetime import UTC, datetime
from typing import Any

from analysis.errors import LogsError
from analysis.ingest.logged_run import LoggedRun


def find_runs(project: str, *, study: str, api: Any = None) -> dict[str, Any]:
    """The server's runs of ``study`` (their group) in ``entity/project`` by run id; :func:`fetch` reads one.

    Args:
        api: a `wandb.Api`; none: one from the environment's login.

    Raises:
        LogsError: the server refuses.
    """
    try:
        if api is None:
            import wandb

            api = wandb.Api()
        return {run.id: run for run in api.runs(project, filters={"group": study})}
    except Exception as error:
        raise _refused(project, error) from None


def stamp(project: str, run: Any) -> str | None:
    """What changes when the server learns more of a run; None where the server does not say."""
    beat, rows = getattr(run, "heartbeat_at", None), getattr(run, "history_line_count", None)
    return None if beat is None else f"{project}|{run.state}|{beat}|{rows}"


def fetch(project: str, run: Any) -> LoggedRun:
    """All of one run.

    Raises:
        LogsError: the server refuses.
    """
    try:
        return _run(run)
    except Exception as error:
        raise _refused(project, error) from None


def read_project(project: str, *, study: str, api: Any = None) -> list[LoggedRun]:
    """All runs of ``study`` in ``entity/project``, by run id.

    Raises:
        LogsError: the server refuses, or there are no such runs.
    """
    found = find_runs(project, study=study, api=api)
    if not found:
        raise none_found(project, study)
    return [fetch(project, run) for _, run in sorted(found.items())]


def none_found(project: str, study: str) -> LogsError:
    """The error where a project has no run of a study."""
    return LogsError(f"W&B project {project} has no run with group {study}")


def _refused(project: str, error: Exception) -> LogsError:
    return LogsError(f"W&B project {project}: cannot be read: {error}; are you logged in (wandb login)?")


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
