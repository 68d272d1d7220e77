"""A run's checkpoint: everything from which it goes on."""

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from trainers.common.errors import CheckpointError
from trainers.data.earlier import read_otherwise
from trainers.interface.epoch_record import EpochRecord
from trainers.loop import about_model, checkpoint_files, run_identity
from trainers.loop.epoch_scores import SCORES, final_scores, score_anew
from trainers.loop.out_of_memory import smaller_evaluation, told
from trainers.loop.run import Run

logger = logging.getLogger(__name__)


def save(run: Run, *, same_weights: bool = False) -> None:
    """Write it, from rank 0: once when an epoch is trained, and once more when it is scored too.

    No random state: every draw is derived from the seed, the epoch and the step.

    Args:
        same_weights: those of the last checkpoint, though the epoch is not scored yet.
    """
    if run.process.rank != 0:
        return
    latest = run.records[-1].metrics if run.unscored is None else run.unscored
    state = {
        "identity": run.identity(),
        about_model.KEY: about_model.about(run.config, run.data, run.student.input_spec),
        **run.weights(),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in run.networks.optimizers.items()},
        "scaling": run.networks.scaling.state_dict(),
        "step": run.step,
        "best": run.best,
        "skipped": int(latest["train/skipped_images"]),
        "unscored": run.unscored,
        "records": [asdict(replace(record, checkpoint=None)) for record in run.records],
    }
    if (run.unscored is None or same_weights) and (run.folder / checkpoint_files.LAST).exists():
        checkpoint_files.save(run.folder / checkpoint_files.LAST, state, wait_s=run.config.checkpoint.wait_s)
    else:
        checkpoint_files.save_last(run.folder, state, wait_s=run.config.checkpoint.wait_s)


def restore(run: Run) -> None:
    """Take up the newest whole checkpoint, where there is one. A finished run that is asked for final scores only
    now gets them. One that is to be evaluated otherwise than before is scored anew, as far as its weights are there.

    Raises:
        CheckpointError: the checkpoint belongs to another run.
        RuntimeError: processes that do not share a folder found checkpoints of different steps in theirs.
    """
    state = checkpoint_files.latest(run.folder, differs=lambda theirs: _differs(run, theirs))
    step = 0 if state is None else int(state["step"])
    if not run.process.same(step):
        raise RuntimeError(f"{run.folder}: this process goes on from step {step}, and not all others do; try again")
    if run.process.rank == 0:
        checkpoint_files.settle(run.folder)
    if state is None:
        return
    _take_up(run, state)
    if otherwise := run_identity.scored_otherwise(_changed(run, json.loads(state["identity"]))):
        _scored_anew(run, otherwise)
    if run.unscored is not None:  # the epoch is evaluated first, the final scores after it
        return
    last = run.records[-1]
    finished = last.epoch == run.config.schedule.epochs
    if finished and run.config.evaluation.final and "final/last/miou" not in last.metrics:
        with told(lambda: "in the evaluation on data.val", smaller_evaluation(run.config.evaluation)):
            run.records[-1] = replace(last, metrics=last.metrics | final_scores(run))
        save(run)


def _changed(run: Run, theirs: dict[str, Any]) -> list[str]:
    return run_identity.changed(theirs, run.config, split_hash=run.data.split_hash)


def _differs(run: Run, theirs: dict[str, Any]) -> list[str]:
    """What keeps the run from going on from a checkpoint with this identity."""
    changed = run_identity.kept_apart(_changed(run, theirs))
    if not changed and "exif" not in theirs.get("config", {}).get("data", {}):
        data, exif = run.data, run.config.data.exif
        items = (*data.labelled, *data.unlabelled, *data.holdout, *data.val)
        if (found := read_otherwise(items, exif=exif)) is not None:
            remedy = ", which data.exif: ignore still does" if "EXIF" in found and exif == "apply" else ""
            changed = [f"data.exif: {exif} here; before there was the key, {found} was read otherwise{remedy}"]
    return changed


def _scored_anew(run: Run, otherwise: list[str]) -> None:
    """Scores of one run mean one thing: those of before are left out, and what weights are there is scored again."""
    kept = [record for record in run.records if any(name.startswith(SCORES) for name in record.metrics)]
    if not kept:
        return
    logger.warning(
        "earlier epochs were scored otherwise (%s): their scores are left out, and the best and the last weights are "
        "scored anew",
        "; ".join(otherwise),
    )
    with told(lambda: "in the evaluation of the best and the last weights", smaller_evaluation(run.config.evaluation)):
        score_anew(run)
    save(run, same_weights=True)


def clear(run: Run) -> None:
    """Forget an earlier run in the same folder."""
    if run.process.rank == 0:
        checkpoint_files.clear(run.folder)
    run.process.barrier()


def _take_up(run: Run, state: dict[str, Any]) -> None:
    try:
        run.load_weights(state)
        for name, optimizer in run.networks.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        run.networks.scaling.load_state_dict(state.get("scaling", {}))
    except (RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{run.folder}: its weights do not fit the networks of this version ({str(error).splitlines()[0]}): it was "
            "made by another one; use that version, or another folder to train anew"
        ) from error
    run.step = state["step"]
    run.best = None if state["best"] is None else (state["best"][0], state["best"][1])
    run.unscored = state.get("unscored")
    run.loader.skipped = state["skipped"] if run.process.rank == 0 else 0
    run.records = [_record(one, run.folder / checkpoint_files.LAST) for one in state["records"]]


def _record(data: dict[str, Any], path: Path) -> EpochRecord:
    return EpochRecord(**{**data, "checkpoint": path})
