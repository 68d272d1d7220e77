"""Where a command leaves its metrics, and how they are read while it writes them."""

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from trainers.common.errors import ConfigError, TrainingError
from trainers.common.section import Section

KINDS = ("jsonl", "csv", "tensorboard", "wandb", "pattern")


class MetricsConfig(Section):
    """Where the command leaves its metrics: exactly one of `jsonl`, `csv`, `tensorboard`, `wandb` and `pattern`."""

    jsonl: str | None = None
    """A file with a JSON object in every line."""
    csv: str | None = None
    """A file with a header and comma-separated values."""
    tensorboard: str | None = None
    """A folder of TensorBoard's event files; a scalar's step is its epoch. Needs the package tensorboard."""
    wandb: str | None = None
    """The folder in which W&B's client makes `wandb/`; runs are read from its offline files."""
    pattern: dict[str, str] | None = None
    """Regular expressions by the metric's name, for what the command prints; their first group is the number. One that
    is called as `epoch` says gives the epoch of its line and of those that follow. Without it, every match of the score
    is the next epoch, or `rows_per_epoch` of them are."""
    epoch: str = "epoch"
    """What the rows call the epoch."""
    first_epoch: Annotated[int, Field(ge=0, le=1)] = 1
    """The number of the first epoch there."""
    rows_per_epoch: Annotated[int, Field(ge=1)] = 1
    """Rows with the score in one epoch; the last one counts."""
    factor: dict[str, float] = Field(default_factory=dict)
    """What a metric is multiplied by, under the study's name: 100 turns a Dice of 0.712 into 71.2, which tables and
    report show to two decimals."""
    names: dict[str, str] = Field(default_factory=dict)
    """Other names for metrics: the study's name, then the command's, such as `val/dice: validation Dice`."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(KINDS)}; got {', '.join(given) or 'none'}")
        for name, text in (self.pattern or {}).items():
            try:
                groups = re.compile(text).groups
            except re.error as error:
                raise ValueError(f"pattern.{name}: {text!r} is no regular expression: {error}") from None
            if groups < 1:
                raise ValueError(f"pattern.{name}: {text!r} has no group: put the number in brackets, as in ([0-9.]+)")
        return self

    @property
    def place(self) -> str:
        """The file or folder, as it was given; '' for what is printed."""
        return next((str(getattr(self, kind)) for kind in KINDS[:4] if getattr(self, kind) is not None), "")

    @property
    def described(self) -> str:
        """The source in words, for messages."""
        kind = next(kind for kind in KINDS if getattr(self, kind) is not None)
        return "its output by pattern" if kind == "pattern" else f"{kind} {self.place}"


Row = Mapping[str, Any]


class Epochs:
    """The epochs that a command has reported so far, each once.

    Args:
        config: where they are.
        place: that file or folder, with all placeholders filled in.
        output: what the command prints.
        score: the name of the score.
    """

    def __init__(self, config: MetricsConfig, place: Path, output: Path, *, score: str) -> None:
        self._config, self._place, self._output, self._score = config, place, output, score
        self._given = 0
        self._seen: object = None

    def new(self, *, over: bool) -> Iterator[tuple[int, dict[str, float]]]:
        """Epochs that have become whole, oldest first, from 1: an epoch is whole when it has all its rows with the
        score, when a later one has begun, or when the command is over.

        Raises:
            ConfigError: what is there cannot be read so.
        """
        state = self._state()
        if state == self._seen and not over:
            return
        self._seen = state
        by_epoch: dict[int, list[dict[str, float]]] = {}
        for epoch, metrics in self._rows():
            by_epoch.setdefault(epoch, []).append(metrics)
        last = max(by_epoch, default=0)
        for epoch in sorted(by_epoch):
            rows = by_epoch[epoch]
            scored = sum(self._score in row for row in rows)
            whole = over or epoch < last or scored >= self._config.rows_per_epoch
            if epoch <= self._given or not whole:
                continue
            self._given = epoch
            yield epoch, {name: value for row in rows for name, value in row.items()}

    def _state(self) -> object:
        """Changes when anything was written."""
        files = [self._output] if self._config.pattern is not None else self._files()
        found = []
        for file in files:
            try:
                found.append((str(file), file.stat().st_size, file.stat().st_mtime_ns))
            except OSError:
                continue
        return found

    def _files(self) -> list[Path]:
        if self._config.wandb is not None:
            return sorted(self._place.glob("wandb/*run-*/*.wandb"))
        if self._config.tensorboard is not None:
            return sorted(self._place.rglob("*tfevents*"))
        return [self._place]

    def _rows(self) -> Iterator[tuple[int, dict[str, float]]]:
        config = self._config
        theirs = {theirs: ours for ours, theirs in config.names.items()}
        number = 0
        for row in self._raw():
            if config.epoch in row:
                epoch = _whole(row[config.epoch], where=config.described)
                if epoch is None:
                    continue
                number = epoch + 1 - config.first_epoch
            elif config.pattern is None or not number:
                continue
            if _diverged(row.get(config.names.get(self._score, self._score))):
                raise TrainingError(f"{self._score} is not finite in epoch {number}")
            named = {theirs.get(name, name): value for name, value in _numbers(row) if name != config.epoch}
            yield number, {name: value * config.factor.get(name, 1.0) for name, value in named.items()}

    def _raw(self) -> Iterable[Row]:
        config = self._config
        if config.pattern is not None:
            return _matches(self._output, config, score=self._score)
        if config.jsonl is not None:
            return _json_lines(self._place)
        if config.csv is not None:
            return _csv_rows(self._place)
        if config.wandb is not None:
            return [row for file in self._files() for row in _wandb_rows(file)]
        return _scalars(self._place, config.epoch) if self._files() else ()


def _diverged(value: Any) -> bool:
    """Whether a score is there and is not finite."""
    try:
        return value is not None and not math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def _numbers(row: Row) -> Iterator[tuple[str, float]]:
    for name, value in row.items():
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            continue
        try:
            number = float(value)
        except ValueError:
            continue
        if math.isfinite(number):
            yield str(name), number


def _whole(value: Any, *, where: str) -> int | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if number != int(number):
        raise ConfigError(f"trainer.metrics: {where}: epoch {value} is no whole number; name the column by `epoch`")
    return int(number)


def _text(path: Path) -> str:
    """Up to the last whole line; '' where there is nothing yet."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return ""
    return text[: text.rfind("\n") + 1]


def _json_lines(path: Path) -> Iterator[Row]:
    """Lines that are no JSON object are passed over: a kill may have torn one."""
    for line in _text(path).splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict):
            yield row


def _csv_rows(path: Path) -> Iterator[Row]:
    for row in csv.DictReader(_text(path).splitlines(), skipinitialspace=True):
        yield {name.strip(): value for name, value in row.items() if name is not None and value is not None}


def _matches(path: Path, config: MetricsConfig, *, score: str) -> Iterator[Row]:
    """A row for every line that has a match, in the order in which they were printed."""
    assert config.pattern is not None
    patterns = {name: re.compile(text) for name, text in config.pattern.items()}
    theirs = config.names.get(score, score)
    count = 0
    for line in _text(path).replace("\r", "\n").splitlines():
        row: dict[str, Any] = {}
        for name, pattern in patterns.items():
            if (found := pattern.search(line)) is not None:
                row[name] = found.group(1)
        if not row:
            continue
        if config.epoch not in patterns:
            row[config.epoch] = count // config.rows_per_epoch + config.first_epoch
            count += theirs in row
        yield row


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


def _scalars(folder: Path, epoch: str) -> Iterator[Row]:
    try:
        from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
    except ImportError:
        raise ConfigError(
            "trainer.metrics.tensorboard needs the package tensorboard: pip install 'ipix-tune[tensorboard]'"
        ) from None
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    rows: dict[int, dict[str, Any]] = {}
    for run, tags in sorted(multiplexer.Runs().items()):
        for tag in tags["scalars"]:
            for event in multiplexer.Scalars(run, tag):
                rows.setdefault(event.step, {epoch: event.step})[tag] = event.value
    yield from (rows[step] for step in sorted(rows))
