"""Once a trial has ended, its log is compared with what is known of it, and what it lacks is written again.

W&B's client takes a run's id once in a process, and the driver's has had it: a process of its own writes the further
file, which the reader joins with the first.
"""

import glob
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from analysis.ingest.wandb_files import read_files
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.execution.complete_logs import Lack, lack_of, what_lacks
from ipix_tune.execution.echo import near
from ipix_tune.search.trial_record import TrialRecord
from ipix_tune.storage.object_sync import ObjectCopy
from ipix_tune.storage.study_identity import identity
from ipix_tune.tracking.run_facts import RunFacts
from ipix_tune.tracking.shell_environment import wandb_mode
from trainers.common.errors import OutputError

FIRST_LOOK_S = 2.0
WRITTEN_S = 20.0
"""How long W&B's client may take to write what it was given."""
AGAIN_S = 30.0
"""Pause before what could not be written again is tried once more; at most `TRIES` times while the study runs."""
TRIES = 3
END_S = 60.0
"""Longest wait for a process that still writes when the study ends."""


class LogKeeper:
    """Looks after the logs of the trials that end while a study runs; what it leaves is for the driver's end.

    Args:
        place: the study's folder.
        study: the study file.
        facts: of the phase that runs.
        entry: a trial as the record has it, once it has ended; None before.
        copy: of the study in object storage, which has the trials' own files.
        say: prints a line.
        clock: seconds, from any start.
    """

    def __init__(
        self,
        place: Path,
        study: StudyConfig,
        facts: RunFacts,
        entry: Callable[[str], TrialRecord | None],
        *,
        copy: ObjectCopy | None,
        say: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place, self._facts, self._entry, self._copy = place, facts, entry, copy
        self._study = study
        self._identity, self._mode = identity(place, study), wandb_mode(study.logging)
        self._say, self._clock = say, clock
        self._since: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self._tries: dict[str, int] = {}
        self._writer: tuple[Lack, subprocess.Popen[str]] | None = None

    def ended(self, key: str) -> None:
        """The trial has ended."""
        if self._mode != "disabled":
            self._since[key] = self._clock()
            self._due[key] = self._since[key] + FIRST_LOOK_S

    def look(self) -> None:
        """Compare what is due, one trial at a time; called often."""
        if self._writer is not None:
            if self._writer[1].poll() is None:
                return
            self._take(self._writer[0])
        now = self._clock()
        for key in [key for key, due in self._due.items() if due <= now]:
            lack = self._lack(key)
            if lack is None:
                del self._due[key]
            elif now - self._since[key] < WRITTEN_S:
                self._due[key] = now + FIRST_LOOK_S
            else:
                self._write(lack)
                return

    def close(self) -> None:
        """Wait for a process that writes; nothing is begun any more."""
        if self._writer is not None:
            try:
                self._writer[1].wait(END_S)
            except subprocess.TimeoutExpired:
                self._writer[1].kill()
                self._writer[1].wait()
            self._take(self._writer[0])
        self._due.clear()

    def _lack(self, key: str) -> Lack | None:
        entry = self._entry(key)
        if entry is None:
            return None
        run_id = glob.escape(f"{self._identity}-{key}")
        runs, _ = read_files(sorted(self._place.glob(f"wandb/*run-*{run_id}*/run-{run_id}.wandb")))
        return lack_of(entry, runs[0] if runs else None)

    def _write(self, lack: Lack) -> None:
        key = lack.entry.key
        self._tries[key] = self._tries.get(key, 0) + 1
        try:
            self._writer = (lack, self._started(lack))
        except (OSError, OutputError):  # the storage of the trial's own files: as where the process could not write
            self._take(lack)

    def _started(self, lack: Lack) -> "subprocess.Popen[str]":
        facts = self._facts
        asked = {
            "phase": facts.phase,
            "shared": facts.shared,
            "described": facts.describe(lack.entry.values),
            "study": self._study.model_dump(mode="json"),
            "lacking": what_lacks(lack, facts, self._place, self._copy),
        }
        command = [sys.executable, "-m", "ipix_tune.execution.log_again", str(self._place)]
        writer = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
        )
        assert writer.stdin is not None
        with writer.stdin as stream:
            json.dump(asked, stream)
        return writer

    def _take(self, lack: Lack) -> None:
        """The process that wrote has ended."""
        self._writer, key = None, lack.entry.key
        if self._lack(key) is None:
            sync = f"; the server lacks it still: ipix-tune wandb-sync {near(self._place)}"
            self._say(f"W&B's file lacked {lack.words}, and was completed{sync if self._mode == 'online' else ''}")
            del self._due[key]
        elif self._tries[key] < TRIES:
            self._due[key] = self._clock() + AGAIN_S
        else:
            del self._due[key]
