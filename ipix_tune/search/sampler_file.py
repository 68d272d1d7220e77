"""The file that keeps a search's sampler as it was after its last draw."""

import json
from collections.abc import Callable
from pathlib import Path

from optuna.samplers import BaseSampler

from ipix_tune.search.sampler_state import set_state, state_of
from ipix_tune.storage.atomic import FolderError, replace_bytes
from ipix_tune.storage.journal_file import WAIT_S
from trainers.common.retry import patiently

SAMPLER, BEFORE = "sampler.json", "sampler.pkl"
"""The file, and what versions before 0.2 wrote."""
VERSION = 2
"""Version of the file; raised whenever an earlier state would not continue as it began."""
BEGIN_ANEW = "begin a new one under another --name (with TPE, warm_start learns from this one)"
GO_ON = "and the search goes on with new random numbers and repeats no trial"


class SamplerFile:
    """Keeps the sampler with its random state.

    Args:
        path: the file; None: nothing is kept.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.after: int | None = None
        """The trial after whose draw the sampler was saved that :meth:`restored` gave; None: it gave none."""

    def save(self, number: int, sampler: BaseSampler) -> None:
        """Keep it as it is after it gave trial ``number`` its configuration."""
        if (path := self._path) is None:
            return
        state = json.dumps({"version": VERSION, "trial": number, "sampler": state_of(sampler)}).encode()
        patiently(lambda: replace_bytes(path, state), path=path, wait_s=WAIT_S)

    def restored(self, build: Callable[[], BaseSampler]) -> BaseSampler | None:
        """The sampler as it was saved; None where there is no file.

        Args:
            build: makes a new one, as the study file says.

        Raises:
            FolderError: the file is torn, or of another version.
        """
        file = self._path
        if file is None:
            return None
        if not file.exists():
            if (before := file.with_name(BEFORE)).exists():
                raise FolderError(
                    f"{before}: an earlier version of ipix-tune wrote it as code, which this one does not run. Remove "
                    f"it, {GO_ON}; or {BEGIN_ANEW}"
                )
            return None
        try:
            found = json.loads(file.read_bytes())
        except ValueError:
            raise FolderError(f"{file}: torn, or not a sampler; remove it, {GO_ON}") from None
        try:
            number, sampler = int(found["trial"]), build()
            if found["version"] != VERSION:
                raise ValueError
            set_state(sampler, found["sampler"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise FolderError(
                f"{file}: another version of ipix-tune or of Optuna wrote it, so this search cannot go on as it began; "
                f"{BEGIN_ANEW}"
            ) from None
        self.after = number
        return sampler
