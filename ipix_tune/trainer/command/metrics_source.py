"""The epochs that a command reports, heard of while it writes its metrics."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ipix_tune.trainer.command.metrics_config import MetricsConfig
from ipix_tune.trainer.command.raw_rows import Row, rows_of
from trainers.common.errors import ConfigError, TrainingError


class Epochs:
    """The epochs that a command has reported so far, each once.

    Args:
        config: where they are.
        place: that file or folder, with all placeholders filled in.
        output: what the command prints.
        score: the name of the score.
    """

    def __init__(self, config: MetricsConfig, place: Path, output: Path, *, score: str) -> None:
        self._config, self._score = config, score
        self._rows = rows_of(config, place, output, score=score)
        self._theirs = {theirs: ours for ours, theirs in config.names.items()}
        self._forget()
        self._given = 0

    def _forget(self) -> None:
        self._number, self._last = 0, 0
        self._metrics: dict[int, dict[str, float]] = {}
        self._scored: dict[int, int] = {}

    def new(self, *, over: bool) -> Iterator[tuple[int, dict[str, float]]]:
        """Epochs that have become whole, oldest first, from 1, each with the metrics of all its rows. An epoch is whole
        when a later one has begun, or the command is over; or, once it has all its rows with the score and what it
        `needs`, at the first look at which nothing new of it was written.

        Raises:
            ConfigError: what is there cannot be read so.
            TrainingError: a score is not finite.
        """
        rows, anew = self._rows.new()
        if anew:
            self._forget()
        touched = {epoch for row in rows if (epoch := self._take(row)) is not None}
        for epoch in sorted(self._metrics):
            if epoch > self._given and (over or epoch < self._last or (epoch not in touched and self._whole(epoch))):
                self._given = epoch
                yield epoch, dict(self._metrics[epoch])

    def _whole(self, epoch: int) -> bool:
        has_all = all(name in self._metrics[epoch] for name in self._config.needs)
        return has_all and self._scored.get(epoch, 0) >= self._config.rows_per_epoch

    def _take(self, row: Row) -> int | None:
        """Merge a row into its epoch; that epoch, None where it belongs to none."""
        config = self._config
        if config.epoch in row:
            number = _whole_number(row[config.epoch], where=config.described)
            if number is None:
                return None
            self._number = self._counted(number)
        elif config.pattern is None or not self._number:
            return None
        epoch = self._number
        if _diverged(row.get(config.names.get(self._score, self._score))):
            raise TrainingError(f"{self._score} is not finite in epoch {epoch}")
        named = {self._theirs.get(name, name): value for name, value in _numbers(row) if name != config.epoch}
        found = {name: value * config.factor.get(name, 1.0) for name, value in named.items()}
        self._metrics.setdefault(epoch, {}).update(found)
        self._scored[epoch] = self._scored.get(epoch, 0) + (self._score in found)
        self._last = max(self._last, epoch)
        return epoch

    def _counted(self, number: int) -> int:
        """The epoch, from 1, of what a row calls it."""
        from_one = number + 1 - self._config.first_epoch
        steps = self._config.steps_per_epoch
        return from_one if steps is None else math.ceil(from_one / steps)


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


def _whole_number(value: Any, *, where: str) -> int | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if number != int(number):
        raise ConfigError(f"trainer.metrics: {where}: epoch {value} is no whole number; name the column by `epoch`")
    return int(number)
