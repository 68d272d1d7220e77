"""Optuna's journal file, made to outlive a full disk and a lost machine."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from trainers.common.retry import patiently

WAIT_S = 60.0
"""How long a read or write that fails is tried again."""


class PatientJournalFile(JournalFileBackend):
    """A journal whose writes are whole, or are taken back and tried again.

    Optuna refuses a file in which a torn line is followed by another. Only one driver writes (it holds the study's
    lock), so a torn last line is what a lost machine left, and is cut off; and Optuna's own lock, which a killed
    driver would leave behind for 30 s, is not needed.

    Args:
        path: the journal; made where it is missing.
        wait_s: how long a read or write that fails is tried again, in seconds.
    """

    def __init__(self, path: Path, *, wait_s: float = WAIT_S) -> None:
        self._path, self._wait_s = path, wait_s
        if path.exists():
            _cut_torn_end(path)
        super().__init__(str(path), lock_obj=_StudyLockIsHeld(str(path)))

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """As `JournalFileBackend.read_logs`."""
        yield from patiently(lambda: list(self._read(log_number_from)), path=self._path, wait_s=self._wait_s)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """As Optuna's.

        Raises:
            OSError: it could not be written for ``wait_s`` seconds, with its path; the file is as it was.
        """
        patiently(lambda: self._append(logs), path=self._path, wait_s=self._wait_s)

    def _read(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        return super().read_logs(log_number_from)

    def _append(self, logs: list[dict[str, Any]]) -> None:
        before = self._path.stat().st_size
        try:
            super().append_logs(logs)
        except OSError as error:
            if self._path.exists():
                with self._path.open("r+b") as file:
                    file.truncate(before)
            raise OSError(error.errno, error.strerror, str(self._path)) from error


class _StudyLockIsHeld(JournalFileOpenLock):
    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _cut_torn_end(path: Path) -> None:
    data = path.read_bytes()
    if not data.endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(data.rfind(b"\n") + 1)
