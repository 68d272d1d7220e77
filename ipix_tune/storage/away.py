"""A study's storage that is away for a moment: nothing may make its folders anew, since what is written there is not in
the study when the storage comes back."""

from pathlib import Path

from ipix_tune.storage.journal_file import WAIT_S
from ipix_tune.storage.study_identity import IDENTITY
from trainers.common.errors import OutputError
from trainers.common.retry import patiently


def make_in_study(folder: Path, *, wait_s: float = WAIT_S) -> None:
    """A trial's folder, in that of its study, which is waited for.

    Raises:
        OutputError: the study's folder was not there for ``wait_s`` seconds, or cannot be written to.
    """
    try:
        patiently(lambda: folder.mkdir(exist_ok=True), path=folder, wait_s=wait_s)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror or error}; mend that, then resume") from error


class StudyStorage:
    """Sees whether a study's folder is there, for those who would make it anew without being asked.

    Args:
        folder: the study's, which is there now.
        wait_s: how long it is waited for once it is away, in seconds. After a wait in vain it is only looked at, until
            it is there again.
    """

    def __init__(self, folder: Path, *, wait_s: float = WAIT_S) -> None:
        mark = folder / IDENTITY
        self._mark, self._wait_s, self._given_up = mark if mark.exists() else folder, wait_s, False

    def wait(self) -> None:
        """Return once the folder is there.

        Raises:
            OSError: it is not.
        """
        wait_s = 0.0 if self._given_up else self._wait_s
        self._given_up = True
        patiently(self._mark.stat, path=self._mark, wait_s=wait_s)
        self._given_up = False
