"""From a study's logs, wherever they lie, to its tables; what was read and has not changed since is not read again.

A *source* is one run: its files below the study's `wandb/`, its copy on a W&B server, or both.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from analysis.columns import HISTORY_COLUMNS, identity_of
from analysis.compute.process_pool import cores
from analysis.errors import LogsError
from analysis.ingest.logged_run import LoggedRun
from analysis.ingest.source_index import SourceEntry, load_index, save_index, stamp_of
from analysis.ingest.tables import (
    NOT_OURS,
    Tables,
    assemble,
    facts_of,
    history_of,
    run_row,
    save,
    shared_facts,
    written_by_us,
)
from analysis.ingest.wandb_files import read_files, run_files

MANY_BYTES = 16 << 20
"""More than this to read is shared out to several processes, which take about a second to start."""
PORTION = 32
"""Runs that a process reads at a time, which bounds its memory."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where one run is logged. ``served`` is W&B's object of it, in ``project``."""

    key: str
    files: tuple[Path, ...] = ()
    stamps: tuple[str, ...] = ()
    size: int = 0
    served: Any = None
    project: str = ""


@dataclass(frozen=True, kw_only=True)
class StudyTables:
    """The tables, what was wrong with the logs, how many sources were read for them, and how many were known."""

    tables: Tables
    problems: list[str]
    read: int
    known: int


def read_study(
    study_dir: Path,
    *,
    out: Path | None = None,
    online: str | None = None,
    api: Any = None,
    processes: int | None = None,
) -> StudyTables:
    """Tables of a study, saved into its folder or into another.

    Args:
        study_dir: its folder; only `wandb/`, and what an earlier report left in `tables/`, is read.
        out: the folder for `tables/`; None: the study's.
        online: W&B's entity/project, to read from the server too; a run that is in both is one run.
        api: a `wandb.Api`; none: one from the environment's login.
        processes: that read; None: one for each core.

    Raises:
        LogsError: there are no logs, or none can be read.
    """
    sources = find_sources(study_dir, online=online, api=api)
    out = out or study_dir
    before, old = load_index(out)
    known = [
        before[source.key]
        for source in sources
        if source.key in before and before[source.key].stamps == source.stamps and not before[source.key].open
    ]
    found = {entry.key for entry in known}
    entries, history = _read([source for source in sources if source.key not in found], processes=processes)
    if twice := _twice([*known, *entries]):
        known, entries = ([entry for entry in some if entry.key not in twice] for some in (known, entries))
        again, more = _read([_joined([source for source in sources if source.key in twice])], processes=1)
        history = _stacked([_only(history, entries), more])
        entries += again
    everything = sorted([*known, *entries], key=lambda entry: entry.key)
    problems = [problem for entry in everything for problem in entry.problems]
    rows = sorted((row for entry in everything for row in entry.rows), key=lambda row: row[0]["run_id"])
    if not rows:
        raise LogsError(f"{study_dir / 'wandb'}: no run can be read. {'; '.join(problems)}" if problems else NOT_OURS)
    history = _stacked([_only(old, known), history])
    tables = assemble([row for row, _ in rows], history, shared_facts(rows))
    if entries or len(known) < len(before):
        save(tables, out)
        save_index(everything, out)
    return StudyTables(tables=tables, problems=problems, read=len(entries), known=len(known))


def _without_logs(study_dir: Path) -> str:
    trials = study_dir / "trials"
    if trials.is_dir() and any(trials.iterdir()):
        return f"{study_dir}: it has no W&B logs (wandb/); was the study run with logging.mode: disabled?"
    return (
        f"{study_dir}: none of its trials has started yet, so that there is nothing to report. If the study was "
        "stopped, go on with the command that began it and --resume"
    )


def find_sources(study_dir: Path, *, online: str | None = None, api: Any = None) -> list[Source]:
    """All sources of a study, by run id."""
    logs = study_dir / "wandb"
    if online is None and not study_dir.is_dir():
        raise LogsError(f"{study_dir}: there is no such study folder")
    if online is None and not logs.is_dir():
        raise LogsError(_without_logs(study_dir))
    files = run_files(logs) if logs.is_dir() else {}
    served: dict[str, Any] = {}
    if online is not None:
        from analysis.ingest.wandb_server import find_runs, none_found

        group = identity_of(study_dir) or study_dir.name
        served = find_runs(online, study=group, api=api)
        if not served and not files:
            raise none_found(online, group)
    if not files and not served:
        raise LogsError(f"{logs}: no run can be read. The folder holds no run files.")
    return [
        _source(key, tuple(files.get(key, ())), served.get(key), online or "")
        for key in sorted(files.keys() | served.keys())
    ]


def _source(key: str, files: tuple[Path, ...], served: Any, project: str) -> Source:
    stamps, size = [], 0
    for path in files:
        size += path.stat().st_size
        stamps.append(stamp_of(path))
    if served is not None:
        from analysis.ingest.wandb_server import stamp

        stamps.append(stamp(project, served) or f"{project}|read at {time.time_ns()}")
    return Source(key=key, files=files, stamps=tuple(stamps), size=size, served=served, project=project)


def _joined(sources: Sequence[Source]) -> Source:
    """One source of several that hold the same run under different names."""
    return Source(
        key=sources[0].key,
        files=tuple(path for source in sources for path in source.files),
        stamps=tuple(stamp for source in sources for stamp in source.stamps),
        served=next((source.served for source in sources if source.served is not None), None),
        project=sources[0].project,
    )


def _twice(entries: Sequence[SourceEntry]) -> set[str]:
    """Keys of the entries that share a run with another: W&B names a file after its run, and somebody renamed one."""
    by_run: dict[str, list[str]] = {}
    for entry in entries:
        for run_id in entry.run_ids:
            by_run.setdefault(run_id, []).append(entry.key)
    return {key for keys in by_run.values() if len(keys) > 1 for key in keys}


def _read(sources: Sequence[Source], *, processes: int | None) -> tuple[list[SourceEntry], pa.Table]:
    """The sources' entries and their rows of `history`. Files that are large together are read by several processes."""
    processes = processes or cores()
    served = [source for source in sources if source.served is not None]
    local = [source for source in sources if source.served is None]
    portions = [local[start : start + PORTION] for start in range(0, len(local), PORTION)]
    if processes > 1 and len(portions) > 1 and sum(source.size for source in local) > MANY_BYTES:
        with ProcessPoolExecutor(min(processes, len(portions)), mp_context=get_context("spawn")) as pool:
            found = list(pool.map(_read_portion, portions))
    else:
        found = [_read_portion(portion) for portion in portions]
    found += [_read_portion([source]) for source in served]
    return [entry for entries, _ in found for entry in entries], _stacked([history for _, history in found])


def _read_portion(sources: Sequence[Source]) -> tuple[list[SourceEntry], pa.Table]:
    entries, runs = [], []
    for source in sources:
        logged, problems = _read_source(source)
        ours = written_by_us(logged)
        entries.append(
            SourceEntry(
                key=source.key,
                stamps=source.stamps,
                problems=tuple(problems),
                rows=tuple((run_row(run), facts_of(run)) for run in ours),
            )
        )
        runs += ours
    return entries, history_of(runs)


def _read_source(source: Source) -> tuple[list[LoggedRun], list[str]]:
    logged, problems = read_files(source.files)
    if source.served is None:
        return logged, problems
    from analysis.ingest.wandb_server import fetch

    served = fetch(source.project, source.served)
    beside = [run.seen_twice(served) if run.run_id == served.run_id else run for run in logged]
    return (beside if any(run.run_id == served.run_id for run in logged) else [*beside, served]), problems


def _only(history: pa.Table | None, entries: Sequence[SourceEntry]) -> pa.Table:
    """The rows of `history` that belong to the entries' runs."""
    wanted = sorted({run_id for entry in entries for run_id in entry.run_ids})
    if history is None:
        return history_of([])
    return history.filter(pc.is_in(history["run_id"], value_set=pa.array(wanted, pa.string())))


def _stacked(parts: Sequence[pa.Table]) -> pa.Table:
    """Rows of `history` of several origins as one table, by run and epoch, without metrics that no row has."""
    stacked = pa.concat_tables([history_of([]), *parts], promote_options="default").sort_by(
        [("run_id", "ascending"), ("epoch", "ascending")]
    )
    metrics = sorted(set(stacked.column_names) - set(HISTORY_COLUMNS))
    used = [name for name in metrics if stacked[name].null_count < len(stacked)]
    return stacked.select([*HISTORY_COLUMNS, *used]).combine_chunks()
