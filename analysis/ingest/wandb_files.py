"""W&B's offline run files, straight from disk.

A file is a 7-byte header, then a log in LevelDB's framing: blocks of 32 KiB, in them records of a 7-byte head (checksum
over type and data, length, type) and data; a record that does not fit is split into first, middle and last. Joined
records are protobuf messages. Whatever ends too early or fails its checksum ends the file there, and is reported.
"""

import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from analysis.ingest.logged_run import LoggedRun

MAGIC = b":W&B"
HEADER = struct.Struct("<4sHB")
BLOCK = 32 * 1024
HEAD = struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


SUMMARY = (b"state", b"error", b"retries", b"url", b"score/")
"""A change of a run's summary that has none of these names only repeats a row of the history, and is not read: W&B
writes two an epoch, which would take twice as long as the history itself."""


class Torn(Exception):
    """The file cannot be read beyond this point."""


def records(data: bytes) -> Iterator[bytes]:
    """The joined records of a file's bytes.

    Raises:
        Torn: after the last whole record, if anything follows it that is not one.
    """
    if len(data) < HEADER.size or data[:4] != MAGIC:
        raise Torn("it is empty or not a W&B file")
    position, parts = HEADER.size, b""
    joining = False
    while position < len(data):
        room = BLOCK - position % BLOCK
        if room < HEAD.size:
            position += room
            continue
        if position + HEAD.size > len(data):
            raise Torn(f"the head of a record is cut off at byte {position}")
        checksum, length, kind = HEAD.unpack_from(data, position)
        chunk = data[position + HEAD.size : position + HEAD.size + length]
        if len(chunk) < length:
            raise Torn(f"a record is cut off at byte {position}")
        if zlib.crc32(chunk, zlib.crc32(bytes([kind]))) != checksum:
            raise Torn(f"the checksum of a record is wrong at byte {position}")
        if kind not in (FULL, FIRST, MIDDLE, LAST) or joining != (kind in (MIDDLE, LAST)):
            raise Torn(f"a record of kind {kind} is out of place at byte {position}")
        position += HEAD.size + length
        parts += chunk
        joining = kind in (FIRST, MIDDLE)
        if not joining:
            yield parts
            parts = b""
    if joining:
        raise Torn("its last record is cut off")


def read_file(path: Path) -> tuple[LoggedRun | None, str | None]:
    """The run in a file as far as it can be read (None where not even its start can), and what is wrong with it."""
    from google.protobuf.message import DecodeError

    parse = message_class().FromString
    run: LoggedRun | None = None
    summary: dict[str, str] = {}
    problem = None
    try:
        for data in records(path.read_bytes()):
            run = _take(run, summary, data, parse(data))
    except (Torn, DecodeError) as error:
        problem = f"{path}: {error}; read up to there" if run is not None else f"{path}: {error}"
    except OSError as error:
        problem = f"{path}: cannot be read: {error.strerror}"
    if run is not None:
        run.summary = _decoded(summary)
    if run is None and problem is None:
        problem = f"{path}: holds no run"
    return run, problem


@lru_cache(maxsize=1)
def message_class() -> Any:
    """W&B's record, by its name in protobuf's registry: the module that puts it there differs by protobuf's version."""
    from google.protobuf import message_factory, symbol_database
    from wandb.proto import wandb_internal_pb2  # noqa: F401

    pool = symbol_database.Default().pool
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("wandb_internal.Record"))


def _take(run: LoggedRun | None, summary: dict[str, str], data: bytes, record: Any) -> LoggedRun | None:
    """The run with what a record adds to it, parsed from ``data``. Of the summaries the last value of a name counts:
    they are gathered in ``summary`` as text."""
    kind = record.WhichOneof("record_type")
    if kind == "run":
        found = LoggedRun(run_id=record.run.run_id) if run is None else run
        found.group, found.job_type = record.run.run_group, record.run.job_type
        found.started = record.run.start_time.seconds + record.run.start_time.nanos * 1e-9
        found.config.update(_items(record.run.config.update))
        return found
    if run is None:
        return None
    if kind == "config":
        run.config.update(_items(record.config.update))
    elif kind == "summary":
        if any(name in data for name in SUMMARY):
            summary.update(_texts(record.summary.update))
    elif kind == "history":
        row = _items(record.history.item)
        run.add_row(row)
        if "_runtime" in row:
            run.runtime_s = float(row["_runtime"])
    elif kind == "exit":
        run.ended = True
        run.runtime_s = max(run.runtime_s or 0.0, float(record.exit.runtime))
    return run


def _items(items: Any) -> dict[str, Any]:
    return _decoded(_texts(items))


def _texts(items: Any) -> dict[str, str]:
    """Names and values as JSON, without what W&B notes of itself."""
    named = ((item.key or "/".join(item.nested_key), item.value_json) for item in items)
    return {name: text for name, text in named if not name.startswith("_wandb")}


def _decoded(texts: dict[str, str]) -> dict[str, Any]:
    """The values, without those that are no JSON. All at once where all are: that is several times as fast."""
    try:
        values = json.loads(f"[{','.join(texts.values())}]")
        if len(values) == len(texts):
            return dict(zip(texts, values, strict=True))
    except json.JSONDecodeError:
        pass
    found = {}
    for name, text in texts.items():
        try:
            found[name] = json.loads(text)
        except json.JSONDecodeError:
            continue
    return found


def run_files(folder: Path) -> dict[str, list[Path]]:
    """The run files below a folder by the run id in their names: a run that was retried or resumed has several.
    `latest-run` is W&B's link to one of them, and a second copy of it where a study was copied without its links."""
    found: dict[str, list[Path]] = {}
    paths = [path for path in folder.rglob("run-*.wandb") if "latest-run" not in path.relative_to(folder).parts]
    for path in sorted({path.resolve() for path in paths}):
        found.setdefault(path.stem.removeprefix("run-"), []).append(path)
    return found


def read_files(paths: Iterable[Path]) -> tuple[list[LoggedRun], list[str]]:
    """The runs in these files, and what is wrong with the files. Parts of one run are joined in the order in which they
    were begun."""
    parts: dict[str, list[LoggedRun]] = {}
    problems = []
    for path in paths:
        run, problem = read_file(path)
        if problem is not None:
            problems.append(problem)
        if run is not None:
            parts.setdefault(run.run_id, []).append(run)
    return sorted(map(_joined, parts.values()), key=lambda run: run.run_id), problems


def _joined(parts: list[LoggedRun]) -> LoggedRun:
    first, *others = sorted(parts, key=lambda part: part.started or 0.0)
    for later in others:
        first = first.continued_by(later)
    return first


def read_folder(folder: Path) -> tuple[list[LoggedRun], list[str]]:
    """All runs below a folder, and what is wrong with its files."""
    return read_files(path for paths in run_files(folder).values() for path in paths)
