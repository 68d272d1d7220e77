"""Complete logs: what W&B's files lack of what the study's record knows is logged again.

Every answer is made from W&B's files. A disk that was full for a while, or a client that died, leaves a run without
some of its epochs or without its end. The record (scores and ends) and the trials' own `metrics.jsonl` know them: they
are written to a further file under the same run, which the reader joins with the first. So are the pictures that
the trial left of such an epoch.
"""

import base64
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.columns import key_of
from analysis.errors import LogsError
from analysis.ingest.logged_run import LoggedRun
from analysis.ingest.read_study import read_study
from analysis.ingest.tables import Tables
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.execution.log_again import log_again
from ipix_tune.execution.trainable import IN_PARTS
from ipix_tune.search.trial_record import TrialRecord
from ipix_tune.storage.object_sync import ObjectCopy
from ipix_tune.tracking.run_facts import RunFacts
from ipix_tune.tracking.runs import Tracker
from ipix_tune.tracking.shell_environment import wandb_mode
from trainers.interface.epoch_record import METRICS, EpochRecord, read_records
from trainers.interface.held_out_file import file_of


@dataclass(frozen=True, kw_only=True)
class Lack:
    """What the logs lack of one trial: ``epochs``, all or some of its rows, or only its end."""

    entry: TrialRecord
    epochs: tuple[int, ...]

    @property
    def words(self) -> str:
        """The trial, and what is missing."""
        count = len(self.epochs)
        missing = "1 epoch" if count == 1 else f"{count} epochs" if count else "its end"
        return f"{self.entry.key} ({missing})"


def lacks(entries: Sequence[TrialRecord], tables: Tables | None) -> list[Lack]:
    """The trials that have ended and are not whole in the logs: an epoch up to the last one with a score has no row, or
    the log says another end than the record.

    Args:
        entries: as the record has them.
        tables: made from the logs; None: there are no logs.
    """
    states: dict[str, str] = {}
    epochs: dict[str, set[int]] = {}
    if tables is not None:
        states = {key_of(row["run_id"]): row["state"] for row in tables.runs.select(["run_id", "state"]).to_pylist()}
        for row in tables.history.select(["run_id", "epoch"]).to_pylist():
            epochs.setdefault(key_of(row["run_id"]), set()).add(row["epoch"])
    found = (_lack(entry, epochs.get(entry.key, set()), states.get(entry.key)) for entry in entries)
    return [lack for lack in found if lack is not None]


def lack_of(entry: TrialRecord, run: LoggedRun | None) -> Lack | None:
    """What the log of one trial lacks; None where it is whole, or the trial has not ended."""
    return _lack(entry, run.history if run else (), run.summary.get("state") if run else None)


def _lack(entry: TrialRecord, known: Collection[int], state: str | None) -> Lack | None:
    if entry.state == "running":
        return None
    missing = tuple(epoch for epoch in range(1, max(entry.scores, default=0) + 1) if epoch not in known)
    return Lack(entry=entry, epochs=missing) if missing or state != entry.state else None


def complete(
    place: Path, study: StudyConfig, facts: RunFacts, entries: Sequence[TrialRecord], *, copy: ObjectCopy | None = None
) -> tuple[list[Lack], list[Lack]]:
    """Log again what the logs lack. W&B's client must hold no open run in this process.

    Args:
        place: the study's folder.
        study: the study file.
        facts: of the phase that the entries belong to.
        entries: as the record has them.
        copy: of the study in object storage, which has the trials' own files.

    Returns:
        what was lacking, and what still is.
    """
    if wandb_mode(study.logging) == "disabled":
        return [], []
    lacking = lacks(entries, _tables(place))
    if not lacking:
        return [], []
    tracker = Tracker(place, study, facts.shared, phase=facts.phase, describe=facts.describe, to_disk=True)
    try:
        for lack in lacking:
            log_again(tracker, what_lacks(lack, facts, place, copy))
    finally:
        tracker.close()
    return lacking, lacks(entries, _tables(place))


def _tables(place: Path) -> Tables | None:
    try:
        return read_study(place).tables
    except LogsError:
        return None


def what_lacks(lack: Lack, facts: RunFacts, place: Path, copy: ObjectCopy | None) -> dict[str, Any]:
    """All that is to be logged again of a trial, as plain data."""
    entry, parts = lack.entry, place / "trials" / lack.entry.key / IN_PARTS
    records = {record.epoch: record for record in _records(place, entry.key, copy)}
    rows = []
    for epoch in lack.epochs:
        record = records.get(epoch)
        if record is not None:
            held_out = _left_by(file_of(place / "trials" / entry.key, epoch), place, copy)
            rows.append(
                {"epoch": epoch, "split_hash": record.split_hash, "metrics": record.metrics, "held_out": held_out}
            )
        elif epoch in entry.scores:
            rows.append({"epoch": epoch, "split_hash": None, "metrics": {}, "score": entry.scores[epoch]})
    last = max(entry.scores, default=0)
    return {
        "key": entry.key,
        "values": entry.values,
        "trainer": facts.training(entry.values).model_dump(mode="json"),
        "parts": int(parts.read_text()) if parts.is_file() else None,
        "rows": rows,
        "end": {
            "state": entry.state,
            "error": entry.error,
            "retries": entry.retries,
            "score": entry.scores.get(last),
            "epochs": last,
        },
    }


def _left_by(path: Path, place: Path, copy: ObjectCopy | None) -> str | None:
    """The file of held-out images of an epoch, as text (base64); None where the trial left none."""
    if path.is_file():
        return base64.b64encode(path.read_bytes()).decode()
    if copy is None:
        return None
    name = f"{copy.key}/{path.relative_to(place).as_posix()}"
    return base64.b64encode(copy.store.get(name)).decode() if copy.store.exists(name) else None


def _records(place: Path, key: str, copy: ObjectCopy | None) -> list[EpochRecord]:
    """The epochs that the trial itself wrote down."""
    name = f"trials/{key}/{METRICS}"
    if copy is None or (place / name).is_file():
        return read_records(place / name)
    if not copy.store.exists(f"{copy.key}/{name}"):
        return []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / METRICS
        path.write_bytes(copy.store.get(f"{copy.key}/{name}"))
        return read_records(path)
