"""What is kept between two reports of a study: a line for every source that was read, beside the tables.

A line holds the stamps that the source's files (path, size, time of change) and its copy on a server (last heartbeat)
had when they were read, the rows of its runs, and what was wrong. Rows of `history` come back from the table itself;
an index that was not made together with that table, or by a program with other columns, is not used.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.columns import HISTORY_COLUMNS, RUN_COLUMNS, SCHEMA_VERSION
from analysis.compute.atomic import replacing
from analysis.ingest.tables import FOLDER, HISTORY

INDEX = "sources.parquet"
INDEX_VERSION = 1
"""Raised whenever the index's form changes, or what is read from a log."""
INDEX_SCHEMA = pa.schema(
    {"key": pa.string(), "stamps": pa.list_(pa.string()), "problems": pa.list_(pa.string()), "rows": pa.string()}
)


@dataclass(frozen=True, kw_only=True)
class SourceEntry:
    """What is kept of a source: its stamps when it was read, what was wrong, and the rows of the runs in it that are
    ours, each with the facts that it states."""

    key: str
    stamps: tuple[str, ...]
    problems: tuple[str, ...]
    rows: tuple[tuple[dict[str, Any], dict[str, Any]], ...]

    @property
    def run_ids(self) -> set[str]:
        """Ids of the file's runs that this program logged."""
        return {row["run_id"] for row, _ in self.rows}

    @property
    def open(self) -> bool:
        """Whether what is said of it changes with time alone."""
        return any(row["state"] == "running" for row, _ in self.rows)


def _version() -> str:
    """Changes where an index of another form, or of a program with other columns, must not be used."""
    form = json.dumps([INDEX_VERSION, SCHEMA_VERSION, RUN_COLUMNS, HISTORY_COLUMNS])
    return hashlib.sha256(form.encode()).hexdigest()


def save_index(entries: Sequence[SourceEntry], study_dir: Path) -> None:
    """Write the index, beside the tables that were just saved."""
    columns = {
        "key": [entry.key for entry in entries],
        "stamps": [list(entry.stamps) for entry in entries],
        "problems": [list(entry.problems) for entry in entries],
        "rows": [json.dumps(entry.rows) for entry in entries],
    }
    folder = study_dir / FOLDER
    metadata = {"version": _version(), "history": stamp_of(folder / HISTORY)}
    with replacing(folder / INDEX) as temporary:
        pq.write_table(pa.table(columns, schema=INDEX_SCHEMA).replace_schema_metadata(metadata), temporary)


def load_index(study_dir: Path) -> tuple[dict[str, SourceEntry], pa.Table | None]:
    """The index by key and the `history` that it goes with; nothing where there is none, or one cannot be used."""
    folder = study_dir / FOLDER
    try:
        index = pq.read_table(folder / INDEX)
        metadata = index.schema.metadata or {}
        if metadata != {b"version": _version().encode(), b"history": stamp_of(folder / HISTORY).encode()}:
            return {}, None
        history = pq.read_table(folder / HISTORY)
    except (OSError, pa.ArrowInvalid):
        return {}, None
    entries = [
        SourceEntry(
            key=line["key"],
            stamps=tuple(line["stamps"]),
            problems=tuple(line["problems"]),
            rows=tuple((row, facts) for row, facts in json.loads(line["rows"])),
        )
        for line in index.to_pylist()
    ]
    return {entry.key: entry for entry in entries}, history


def stamp_of(path: Path) -> str:
    """What changes when a file does: its path, size in bytes and time of change."""
    found = path.stat()
    return f"{path}|{found.st_size}|{found.st_mtime_ns}"
