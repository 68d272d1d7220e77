"""TensorBoard's event files of a run: every metric of every epoch, in `tensorboard/` in the run's folder."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from trainers.common.errors import ConfigError, OutputError
from trainers.config import MetricFilesConfig
from trainers.interface.epoch_record import EpochRecord

FOLDER = "tensorboard"
"""In the run's folder."""


def check_tensorboard(config: MetricFilesConfig) -> None:
    """Raises ConfigError where it is asked for and not installed."""
    if config.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            "logging.tensorboard needs the package tensorboard: pip install 'ipix-tune[tensorboard]', or set "
            "logging.tensorboard: false"
        )


class TensorBoardLog:
    """Scalars by epoch; nothing where it is not asked for.

    A run that goes on writes its earlier epochs once more, and tells readers to forget those of before: what was lost
    with a process is there again, and no epoch is there twice.

    Args:
        folder: of the run.
        wanted: whether anything is written: `logging.tensorboard`, on rank 0.
        records: epochs that have been trained.

    Raises:
        OutputError: the files cannot be written.
    """

    def __init__(self, folder: Path, *, wanted: bool, records: Sequence[EpochRecord]) -> None:
        self._folder = folder / FOLDER
        self._writer: Any = None
        if not wanted:
            return
        from torch.utils.tensorboard import SummaryWriter

        before = any(self._folder.glob("events.out.tfevents.*"))
        try:
            self._writer = SummaryWriter(str(self._folder), purge_step=0 if before else None)
        except OSError as error:
            raise self._fault(error) from error
        for record in records:
            self.append(record)

    def append(self, record: EpochRecord) -> None:
        """An epoch's metrics, on disk when this returns."""
        if self._writer is None:
            return
        try:
            for name, value in record.metrics.items():
                self._writer.add_scalar(name, value, global_step=record.epoch)
            self._writer.flush()
        except OSError as error:
            raise self._fault(error) from error

    def _fault(self, error: OSError) -> OutputError:
        return OutputError(f"{self._folder}: cannot be written: {error.strerror or error}; mend that, then resume")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()
