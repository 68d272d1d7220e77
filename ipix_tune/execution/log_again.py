"""Log what a run's file lacks. As a program, for one trial that it is told on its standard input: a process of its own,
with few imports, that W&B's client has given no run before."""

import base64
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from analysis.columns import Phase
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.tracking.runs import Tracker


def log_again(tracker: Tracker, lacking: dict[str, Any]) -> None:
    """Log what `what_lacks` gave."""
    key = lacking["key"]
    tracker.start(key, values=lacking["values"], trainer=lacking["trainer"])
    if lacking["parts"] is not None:
        tracker.in_parts(key, lacking["parts"])
    for row in lacking["rows"]:
        if row["split_hash"] is not None:
            tracker.split(key, row["split_hash"])
        score = {tracker.metric: row["score"]} if "score" in row else {}
        tracker.log(
            key,
            epoch=row["epoch"],
            metrics={**row["metrics"], **score},
            held_out=partial(_decoded, row.get("held_out")),
        )
    tracker.finish(key, **lacking["end"])


def _decoded(pictures: str | None) -> bytes | None:
    return None if pictures is None else base64.b64decode(pictures)


def write(
    place: Path,
    *,
    study: dict[str, Any],
    phase: Phase,
    shared: dict[str, Any],
    described: dict[str, Any],
    lacking: dict[str, Any],
) -> None:
    """Log what a trial's file lacks, in this process.

    Args:
        place: the study's folder.
        study: the study file, as plain data.
        phase, shared, described: of the trial's `run_facts.RunFacts`.
        lacking: what `complete_logs.what_lacks` gave.
    """
    known = StudyConfig.model_validate(study)
    tracker = Tracker(place, known, shared, phase=phase, describe=lambda values: described, to_disk=True)
    try:
        log_again(tracker, lacking)
    finally:
        tracker.close()


if __name__ == "__main__":
    write(Path(sys.argv[1]), **json.load(sys.stdin))
