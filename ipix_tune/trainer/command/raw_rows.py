"""Rows as a command writes them, read on from where the last look ended."""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from ipix_tune.trainer.command.metrics_config import MetricsConfig
from trainers.common.errors import ConfigError

Row = Mapping[str, Any]
SEEN = 256
"""Bytes before the place of the last look that are compared, to see whether the file is still the same one."""


class RowReader(Protocol):
    """What a command has written."""

    def new(self) -> tuple[list[Row], bool]:
        """The rows since the last call, oldest first; and whether they are all that there are, because what was read
        before is no longer so."""
        ...


def rows_of(config: MetricsConfig, place: Path, output: Path, *, score: str) -> RowReader:
    """Of the kind that the config names.

    Args:
        place: that file or folder, with all placeholders filled in.
        output: what the command prints.
        score: the name of the score.
    """
    if config.pattern is not None:
        return Matches(output, config, score=score)
    if config.jsonl is not None:
        return JsonLines(place)
    if config.csv is not None:
        return CsvRows(place)
    if config.wandb is not None:
        return WandbRows(place)
    return Scalars(place, config.epoch)


class Tail:
    """The whole lines of a text file, from the last look on."""

    def __init__(self, path: Path) -> None:
        self._path, self._at, self._before = path, 0, b""

    def new(self) -> tuple[list[str], bool]:
        """The lines, and whether they are all of the file's: it is read anew where it is shorter than it was, or holds
        something else before the place of the last look."""
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(0, self._at - len(self._before)))
                same = size >= self._at and file.read(len(self._before)) == self._before
                if not same:
                    self._at = 0
                file.seek(self._at)
                text = file.read()
        except OSError:
            return [], False
        text = text[: text.rfind(b"\n") + 1]
        begun = self._at == 0
        self._at += len(text)
        self._before = (self._before + text)[-SEEN:] if same else text[-SEEN:]
        return text.decode(errors="replace").splitlines(), begun and bool(text)


class JsonLines:
    """Lines that are no JSON object are passed over: a kill may have torn one."""

    def __init__(self, path: Path) -> None:
        self._tail = Tail(path)

    def new(self) -> tuple[list[Row], bool]:
        lines, anew = self._tail.new()
        return [row for line in lines if isinstance(row := _json(line), dict)], anew


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None


class CsvRows:
    """With a header. A file that is written anew with further columns is read anew."""

    def __init__(self, path: Path) -> None:
        self._tail = Tail(path)
        self._header = ""

    def new(self) -> tuple[list[Row], bool]:
        lines, anew = self._tail.new()
        if anew:
            self._header, *lines = lines
        read = csv.DictReader([self._header, *lines], skipinitialspace=True)
        rows = [
            {name.strip(): one for name, one in row.items() if name is not None and one is not None} for row in read
        ]
        return [*rows], anew


class Matches:
    """A row for every line that has a match, in the order in which they were printed."""

    def __init__(self, path: Path, config: MetricsConfig, *, score: str) -> None:
        assert config.pattern is not None
        self._tail, self._config = Tail(path), config
        self._patterns = {name: re.compile(text) for name, text in config.pattern.items()}
        self._score = config.names.get(score, score)
        self._count = 0

    def new(self) -> tuple[list[Row], bool]:
        lines, anew = self._tail.new()
        self._count = 0 if anew else self._count
        parts = (part for line in lines for part in line.replace("\r", "\n").splitlines())
        return [row for part in parts if (row := self._row(part))], anew

    def _row(self, line: str) -> dict[str, Any]:
        found = {name: pattern.search(line) for name, pattern in self._patterns.items()}
        row: dict[str, Any] = {name: one.group(1) for name, one in found.items() if one is not None}
        if row and self._config.epoch not in self._patterns:
            row[self._config.epoch] = self._count // self._config.rows_per_epoch + self._config.first_epoch
            self._count += self._score in row
        return row


class WandbRows:
    """Of W&B's offline files, which are blocks that only the whole file makes readable: read anew when one has
    changed."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._seen = folder, list[tuple[str, int]]()

    def new(self) -> tuple[list[Row], bool]:
        files = sorted(self._folder.glob("wandb/*run-*/*.wandb"))
        state = [(str(file), file.stat().st_size) for file in files]
        if state == self._seen:
            return [], False
        self._seen = state
        return [row for file in files for row in _wandb_rows(file)], True


def _wandb_rows(path: Path) -> Iterator[Row]:
    from google.protobuf.message import DecodeError

    from analysis.ingest.wandb_files import Torn, message_class, records

    parse = message_class().FromString
    try:
        for data in records(path.read_bytes()):
            record = parse(data)
            if record.WhichOneof("record_type") == "history":
                items = ((item.key or "/".join(item.nested_key), item.value_json) for item in record.history.item)
                yield {name: json.loads(text) for name, text in items if not name.startswith("_")}
    except (Torn, DecodeError, OSError, json.JSONDecodeError):
        return  # it is being written


class Scalars:
    """Of TensorBoard's event files; a row a step."""

    def __init__(self, folder: Path, epoch: str) -> None:
        self._folder, self._epoch = folder, epoch
        self._events: Any = None
        self._seen = list[tuple[str, int]]()

    def new(self) -> tuple[list[Row], bool]:
        files = sorted(self._folder.rglob("*tfevents*"))
        state = [(str(file), file.stat().st_size) for file in files]
        if state == self._seen:
            return [], False
        self._seen = state
        if self._events is None:
            self._events = _multiplexer()
        self._events.AddRunsFromDirectory(str(self._folder)).Reload()  # which goes on from where it was
        rows: dict[int, dict[str, Any]] = {}
        for run, tags in sorted(self._events.Runs().items()):
            for tag in tags["scalars"]:
                for event in self._events.Scalars(run, tag):
                    rows.setdefault(event.step, {})[tag] = event.value
        if not any(self._epoch in row for row in rows.values()):
            rows = {step: {self._epoch: step, **row} for step, row in rows.items()}
        return [rows[step] for step in sorted(rows)], True


def _multiplexer() -> Any:
    try:
        from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
    except ImportError:
        raise ConfigError(
            "trainer.metrics.tensorboard needs the package tensorboard: pip install 'ipix-tune[tensorboard]'"
        ) from None
    return EventMultiplexer(size_guidance={"scalars": 0})  # all of them; its default keeps a sample
