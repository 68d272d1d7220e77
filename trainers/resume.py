"""A run's checkpoint: everything from which it goes on."""

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from trainers import checkpoint
from trainers.outofmemory import smaller_evaluation, told
from trainers.report import EpochRecord
from trainers.run import Run
from trainers.scoring import final_scores

logger = logging.getLogger(__name__)


def save(run: Run) -> None:
    """Write it, from rank 0: once when an epoch is trained, and once more when it is scored too.

    No random state: every draw is derived from the seed, the epoch and the step.
    """
    if run.process.rank != 0:
        return
    latest = run.records[-1].metrics if run.unscored is None else run.unscored
    state = {
        "identity": run.identity(),
        **run.weights(),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in run.optimizers.items()},
        "step": run.step,
        "best": run.best,
        "skipped": int(latest["train/skipped_images"]),
        "unscored": run.unscored,
        "records": [asdict(replace(record, checkpoint=None)) for record in run.records],
    }
    if run.unscored is None and (run.folder / checkpoint.LAST).exists():  # it holds the same weights
        checkpoint.save(run.folder / checkpoint.LAST, state, wait_s=run.config.checkpoint.wait_s)
    else:
        checkpoint.save_last(run.folder, state, wait_s=run.config.checkpoint.wait_s)


def restore(run: Run) -> None:
    """Take up the newest whole checkpoint, where there is one. A finished run that is asked for final scores only now
    gets them.

    Raises:
        RuntimeError: processes that do not share a folder found checkpoints of different steps in theirs.
    """
    state = checkpoint.latest(run.folder, expected=json.loads(run.identity()))
    step = 0 if state is None else int(state["step"])
    if not run.process.same(step):
        raise RuntimeError(f"{run.folder}: this process goes on from step {step}, and not all others do; try again")
    if run.process.rank == 0:
        checkpoint.settle(run.folder)
    if state is None:
        return
    _take_up(run, state)
    if run.unscored is not None:  # the epoch is evaluated first, the final scores after it
        return
    last = run.records[-1]
    finished = last.epoch == run.config.schedule.epochs
    if finished and run.config.evaluation.final and "final/last/miou" not in last.metrics:
        with told(lambda: "in the evaluation on data.val", smaller_evaluation(run.config.evaluation)):
            run.records[-1] = replace(last, metrics=last.metrics | final_scores(run))
        save(run)


def clear(run: Run) -> None:
    """Forget an earlier run in the same folder."""
    if run.process.rank == 0:
        checkpoint.clear(run.folder)
    run.process.barrier()


def _take_up(run: Run, state: dict[str, Any]) -> None:
    run.load_weights(state)
    for name, optimizer in run.optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
    run.step = state["step"]
    run.best = None if state["best"] is None else (state["best"][0], state["best"][1])
    run.unscored = state.get("unscored")
    otherwise = checkpoint.scored_otherwise(state, json.loads(run.identity()))
    if otherwise and any("val/miou" in record["metrics"] for record in state["records"]):
        logger.warning("earlier epochs were scored otherwise: %s", "; ".join(otherwise))
    run.loader.skipped = state["skipped"] if run.process.rank == 0 else 0
    run.records = [_record(one, run.folder / checkpoint.LAST) for one in state["records"]]


def _record(data: dict[str, Any], path: Path) -> EpochRecord:
    return EpochRecord(**{**data, "checkpoint": path})
