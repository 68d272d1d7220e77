"""The two tables, `runs` and `history`, from logged runs, and back from Parquet. Columns: `analysis.columns`."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.columns import CONFIRM, HISTORY_COLUMNS, PARAM_PREFIX, PICTURES, RUN_COLUMNS, SCHEMA_VERSION
from analysis.compute.atomic import replacing
from analysis.errors import LogsError
from analysis.ingest.logged_run import LoggedRun

TYPES = {"string": pa.string(), "int64": pa.int64(), "double": pa.float64()}
FOLDER, RUNS, HISTORY = "tables", "runs.parquet", "history.parquet"
ALIVE_S = 15 * 60
"""A run whose end was not logged counts as running for so long after its last row."""
NEEDED = {"schema_version", "study", "trial", "trainer", "objective"}
VERSION_KEY, FACTS_KEY = b"schema_version", b"facts"
NOT_OURS = "no run in the logs was written by a study of this program"


@dataclass(frozen=True, kw_only=True)
class Tables:
    """``runs``: a row a run. ``history``: a row a run and epoch. ``facts``: what all runs of the study share (space,
    scheduler, classes) and, under `confirm`, what the runs of its confirmation share."""

    runs: pa.Table
    history: pa.Table
    facts: dict[str, Any]

    @property
    def unpaired(self) -> str | None:
        """Why runs of the study's trainer cannot be paired by seeds, so that nothing can be confirmed; None where they
        can be, or the logs do not say."""
        return (self.facts.get("trains") or {}).get("unpaired")


def build_tables(logged: Sequence[LoggedRun]) -> Tables:
    """Tables of runs that this program logged; other runs are left out.

    Raises:
        LogsError: none of the runs was logged by it, or one by another version of it.
    """
    ours = written_by_us(logged)
    if not ours:
        raise LogsError(NOT_OURS)
    rows = [(run_row(run), facts_of(run)) for run in ours]
    return assemble([row for row, _ in rows], history_of(ours), shared_facts(rows))


def written_by_us(logged: Sequence[LoggedRun]) -> list[LoggedRun]:
    """The runs that this program logged.

    Raises:
        LogsError: one was logged by another version of it.
    """
    ours = [run for run in logged if run.config.keys() >= NEEDED]
    for run in ours:
        if run.config["schema_version"] != SCHEMA_VERSION:
            raise LogsError(
                f"run {run.run_id} was logged with schema version {run.config['schema_version']}, this program reads "
                f"{SCHEMA_VERSION}; make the report with the version of the program that ran the study"
            )
    return ours


def facts_of(run: LoggedRun) -> dict[str, Any]:
    """What all runs of the study, or of its confirmation, share, as one of them says it."""
    names = ("study", "space", "scheduler", "classes", "objective", "constraints", "trains")
    facts = {name: run.config.get(name) for name in names}
    if run.job_type == CONFIRM:
        facts[CONFIRM] = {name: run.config[CONFIRM][name] for name in ("plan", "arms", "order", "prefer")}
    return facts


def shared_facts(rows: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    """Of the rows of `runs`, each with what :func:`facts_of` says: those of the search, and the confirmation's own, by
    the run that knows the most extensions of its plan."""
    confirming = [facts for row, facts in rows if row["phase"] == CONFIRM]
    searching = [facts for row, facts in rows if row["phase"] != CONFIRM] or confirming
    plans = [facts[CONFIRM] for facts in confirming]
    latest = max(reversed(plans), key=lambda known: len(known["plan"].get("extensions", ())), default=None)
    return {**searching[-1], **({CONFIRM: latest} if latest is not None else {})}


def history_of(runs: Sequence[LoggedRun]) -> pa.Table:
    """The table `history` of these runs: every metric a column of float64, empty where an epoch lacks it."""
    run_ids, epochs, times, rows = [], [], [], []
    for run in runs:
        for epoch, row in sorted(run.history.items()):
            run_ids.append(run.run_id)
            epochs.append(epoch)
            times.append(_number(row.get("_timestamp")))
            rows.append(_metrics(row))
    columns: dict[str, Any] = {
        name: pa.array(values, TYPES[kind])
        for (name, kind), values in zip(HISTORY_COLUMNS.items(), (run_ids, epochs, times), strict=True)
    }
    for name in sorted({name for row in rows for name in row} - set(HISTORY_COLUMNS)):
        columns[name] = pa.array([row.get(name) for row in rows], pa.float64())
    return pa.table(columns)


def assemble(rows: Sequence[dict[str, Any]], history: pa.Table, facts: dict[str, Any]) -> Tables:
    """The tables of the runs that :func:`run_row` gave, in its order."""
    names = sorted({name for row in rows for name in row if name.startswith(PARAM_PREFIX)})
    fields = [pa.field(name, TYPES[kind]) for name, kind in RUN_COLUMNS.items()]
    fields += [pa.field(name, _type_of([row.get(name) for row in rows])) for name in names]
    runs = pa.Table.from_pylist([_fitted(row, fields) for row in rows], schema=pa.schema(fields))
    return Tables(runs=runs, history=history, facts=facts)


def run_row(run: LoggedRun) -> dict[str, Any]:
    """The run's row of the table `runs`."""
    config, summary = run.config, run.summary
    objective, trainer, origin = config["objective"], config["trainer"], config.get("origin") or {}
    epochs = max(run.history, default=0)
    second = objective.get("second_objective") or objective.get("against") or {}  # the name before 0.2
    return {
        "run_id": run.run_id,
        "study": config["study"],
        "phase": run.job_type,
        "trial": config["trial"]["number"],
        "state": summary.get("state") or _state_without_end(run),
        "error": summary.get("error"),
        "retries": summary.get("retries") or 0,
        "seed": trainer.get("seed"),
        "epochs": epochs,
        "max_epochs": (config.get("scheduler") or {}).get("max_epochs"),
        "metric": objective["metric"],
        "mode": objective["mode"],
        "objective": _last(run, objective["metric"]),
        "against_metric": second.get("metric"),
        "against_mode": second.get("mode"),
        "against": _last(run, second["metric"]) if second else None,
        "split_hash": origin.get("split_hash"),
        "git_commit": origin.get("git_commit"),
        "started": run.started,
        "runtime_s": run.runtime_s,
        "config": json.dumps(trainer, sort_keys=True),
        "arm": (config.get(CONFIRM) or {}).get("arm"),
        "arm_seed": (config.get(CONFIRM) or {}).get("seed"),
        "wandb_path": _path(run),
        "url": summary.get("url"),
        **{f"{PARAM_PREFIX}{name}": value for name, value in (config.get("search") or {}).items()},
    }


def _last(run: LoggedRun, metric: str) -> float | None:
    """The metric's last value."""
    values = {epoch: row.get(metric) for epoch, row in run.history.items()}
    known = {epoch: value for epoch, value in values.items() if isinstance(value, int | float)}
    return _number(known[max(known)]) if known else None


def _path(run: LoggedRun) -> str | None:
    """[entity/]project/run id."""
    tracking = run.config.get("tracking") or {}
    if tracking.get("project") is None:
        return None
    return "/".join(part for part in (tracking.get("entity"), tracking["project"], run.run_id) if part)


def _state_without_end(run: LoggedRun) -> str:
    last = max((row.get("_timestamp") or 0.0 for row in run.history.values()), default=run.started or 0.0)
    return "running" if time.time() - last < ALIVE_S and not run.ended else "crashed"


def _metrics(row: dict[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in row.items()
        if isinstance(value, int | float) and not name.startswith(("_", PICTURES)) and name != "epoch"
    }


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _type_of(values: Sequence[Any]) -> pa.DataType:
    """The narrowest column type that holds all values; text where they are of several kinds."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    if kinds and kinds <= {int, float}:
        return pa.float64()
    return pa.string()


def _fitted(row: dict[str, Any], fields: Sequence[pa.Field]) -> dict[str, Any]:
    def one(field: pa.Field) -> Any:
        value = row.get(field.name)
        if value is None or not pa.types.is_string(field.type) or isinstance(value, str):
            return value
        return json.dumps(value)

    return {field.name: one(field) for field in fields}


def save(tables: Tables, study_dir: Path) -> None:
    """Write both as Parquet, each whole or not at all."""
    folder = study_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for table, name in ((tables.history, HISTORY), (tables.runs, RUNS)):
        metadata = {VERSION_KEY: str(SCHEMA_VERSION).encode(), FACTS_KEY: json.dumps(tables.facts).encode()}
        with replacing(folder / name) as temporary:
            pq.write_table(table.replace_schema_metadata(metadata), temporary)


def load(study_dir: Path) -> Tables:
    """Tables that :func:`save` wrote.

    Raises:
        LogsError: there are none, or they have another schema version.
    """
    folder = study_dir / FOLDER
    try:
        runs, history = pq.read_table(folder / RUNS), pq.read_table(folder / HISTORY)
    except FileNotFoundError:
        raise LogsError(f"{folder}: no tables; make them with: ipix-tune report {study_dir}") from None
    version = int(runs.schema.metadata[VERSION_KEY])
    if version != SCHEMA_VERSION:
        raise LogsError(f"{folder}: tables of schema version {version}, expected {SCHEMA_VERSION}; make them again")
    return Tables(runs=runs, history=history, facts=json.loads(runs.schema.metadata[FACTS_KEY]))
