"""The epochs that a run of a trainer that is not ours has told, in the file in which ours writes its own."""

import json
from dataclasses import replace
from pathlib import Path

from ipix_tune.trainer.interface import Epoch, Report
from trainers.common.atomic import append_whole
from trainers.common.errors import OutputError
from trainers.common.retry import patiently
from trainers.interface.epoch_record import METRICS, read_records

WAIT_S = 60.0
"""How long a storage that is full or away is waited for, in seconds."""
OWN = ("epoch", "step", "split_hash")
"""What a row of that file holds beside metrics; a trainer's metric of such a name is left out."""


class ToldEpochs:
    """Writes every epoch down before it is told, and tells those of an earlier start again. An epoch that was told
    keeps its first metrics: scheduler and log have seen them.

    Args:
        folder: the run's.
        report: takes an epoch, and says whether to go on.
    """

    def __init__(self, folder: Path, report: Report) -> None:
        self._file, self._report = folder / METRICS, report
        if self._file.exists() and not (text := self._file.read_text()).endswith("\n"):
            self._file.write_text(text[: text.rfind("\n") + 1])  # a line that a kill has torn
        self._before = {one.epoch: one.metrics for one in read_records(self._file)}

    @property
    def last(self) -> int:
        """The last epoch that was told, by this start or an earlier one; 0: none."""
        return max(self._before, default=0)

    def again(self) -> bool:
        """Tell the epochs of an earlier start; whether to go on."""
        told = [self._report(Epoch(epoch=epoch, metrics=self._before[epoch])) for epoch in sorted(self._before)]
        return all(told)

    def tell(self, epoch: Epoch) -> bool:
        """Tell an epoch, unless it was told before; whether to go on.

        Raises:
            OutputError: it could not be written down for `WAIT_S` seconds.
        """
        if epoch.epoch in self._before:
            return True
        metrics = {name: value for name, value in epoch.metrics.items() if name not in OWN}
        epoch = replace(epoch, metrics=metrics)
        row = {"epoch": epoch.epoch, "step": 0, "split_hash": epoch.split_hash, **metrics}
        try:
            patiently(lambda: append_whole(self._file, json.dumps(row) + "\n"), path=self._file, wait_s=WAIT_S)
        except OSError as error:
            raise OutputError(f"{self._file}: cannot be written: {error.strerror}; mend that, then resume") from error
        self._before[epoch.epoch] = metrics
        return self._report(epoch)
