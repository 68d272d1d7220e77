"""What a run scores after an epoch, and its best weights."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from statistics import fmean
from typing import Any

import torch

from trainers.data.layout import Item
from trainers.interface.held_out_file import due, file_of
from trainers.loop import about_model, checkpoint_files, held_out
from trainers.loop.evaluate import Watch, evaluate
from trainers.loop.resource_meter import peak_mib
from trainers.loop.run import Run

logger = logging.getLogger(__name__)

RECENT = "val/recent/miou"
SCORES = ("val/", "final/")
"""How the names of scores begin."""


def evaluate_epoch(run: Run, epoch: int) -> dict[str, float]:
    """Scores on the held-out images where they are due, the best epoch kept; after the last epoch of a final run also
    those of `data.val`, with the last and with the best weights."""
    config, last = run.config, epoch == run.config.schedule.epochs
    metrics: dict[str, float] = {}
    begun = time.monotonic()
    if run.data.holdout and (last or epoch % config.evaluation.every == 0):
        metrics |= _held_out_scores(run, epoch)
        metrics[RECENT] = _recent(run, epoch, metrics["val/miou"])
        if run.best is None or metrics["val/miou"] > run.best[0]:
            run.best = (metrics["val/miou"], epoch)
            _keep_best(run)
    run.method.after_epoch(metrics.get("val/miou"))
    if last and config.evaluation.final:
        metrics |= final_scores(run)
    metrics["time/eval_s"] = time.monotonic() - begun
    metrics["memory/peak_mib"] = _peak_mib(run)
    return metrics


def _held_out_scores(run: Run, epoch: int) -> dict[str, float]:
    """Scores on the held-out images, and where that is due a file of what was predicted."""
    config = run.config
    pictures, every, epochs = config.evaluation.pictures, config.evaluation.every, config.schedule.epochs
    if not due(epoch, pictures=pictures, every=every, epochs=epochs):
        return _scores(run, run.data.holdout, "val")
    seen = held_out.HeldOutWriter(
        run.data.holdout,
        num_classes=run.data.num_classes,
        shown=held_out.MOST_SHOWN if epoch == epochs else pictures,
        process=run.process,
    )
    found = _scores(run, run.data.holdout, "val", watch=seen.add)
    seen.write(file_of(run.run_dir, epoch), epoch=epoch, reader=run.reader)
    return found


def final_scores(run: Run) -> dict[str, float]:
    """On the images of `data.val`: with the last weights, and with the best ones where they are kept."""
    found = _scores(run, run.data.val, "final/last")
    with _best_in_place(run) as there:
        if not there or run.best is None:
            return found
        return {**found, **_scores(run, run.data.val, "final/best"), "final/best/epoch": float(run.best[1])}


def score_anew(run: Run) -> None:
    """Score the best and the last weights on the held-out images as the run evaluates now, and leave out all earlier
    scores: they mean something else, and the weights of the other epochs are gone. The better of the two is the best.
    Where the last epoch is still to be evaluated, only the best weights are scored here."""
    former, run.records = run.best, [replace(record, metrics=_without_scores(record.metrics)) for record in run.records]
    found: dict[int, dict[str, float]] = {}
    last = run.records[-1].epoch
    with _best_in_place(run) as there:
        if there and former is not None and (former[1] != last or run.unscored is not None):
            found[former[1]] = _scores(run, run.data.holdout, "val")
    if run.data.holdout and run.unscored is None:
        found[last] = _scores(run, run.data.holdout, "val")
    run.records = [
        replace(one, metrics={**one.metrics, **found[one.epoch], RECENT: found[one.epoch]["val/miou"]})
        if one.epoch in found
        else one
        for one in run.records
    ]
    run.best = max(((scores["val/miou"], epoch) for epoch, scores in found.items()), default=None, key=_better)
    if run.best is None:
        return
    if run.best[1] == last and run.unscored is None:
        _keep_best(run)
        return
    with _best_in_place(run, of=former):
        _keep_best(run)


def _better(best: tuple[float, int]) -> tuple[float, int]:
    """Sorts by the score, and equal ones by the earlier epoch."""
    return best[0], -best[1]


def _without_scores(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith(SCORES)}


@contextmanager
def _best_in_place(run: Run, *, of: tuple[float, int] | None = None) -> Iterator[bool]:
    """The best epoch's weights in the place of the last ones, on every process; False: they are not kept.

    Args:
        of: score and epoch as they were saved; None: `run.best`.
    """
    wanted = of or run.best
    best = _best_weights(run, wanted) if run.process.rank == 0 else None
    if wanted is None or not run.process.agree(best is not None):
        yield False
        return
    now = {part: {name: value.clone() for name, value in state.items()} for part, state in run.weights().items()}
    if best is not None:
        run.load_weights(best)
    run.process.share(value for network in run.method.networks().values() for value in network.state_dict().values())
    try:
        yield True
    finally:
        run.load_weights(now)


def _scores(run: Run, items: Sequence[Item], prefix: str, watch: Watch | None = None) -> dict[str, float]:
    return evaluate(
        run.method.networks(),
        items,
        config=run.config,
        reader=run.reader,
        num_classes=run.data.num_classes,
        process=run.process,
        main=run.method.eval_network,
        prefix=prefix,
        watch=watch,
        spec=run.student.input_spec,
    )


def _recent(run: Run, epoch: int, latest: float) -> float:
    """The mean of ``latest`` and the evaluations just before it, `evaluation.recent` in all where there are so many."""
    evaluation = run.config.evaluation
    first = epoch - evaluation.recent * evaluation.every
    before = [one.metrics["val/miou"] for one in run.records if one.epoch > first and "val/miou" in one.metrics]
    return fmean([*before, latest][-evaluation.recent :])


def _peak_mib(run: Run) -> float:
    """Peak memory in MiB of the process that took most, over the whole run including before a resume."""
    peak = torch.tensor(peak_mib(run.process.device), dtype=torch.float64, device=run.process.device)
    before = run.records[-1].metrics.get("memory/peak_mib", 0.0) if run.records else 0.0
    return max(-float(run.process.min_(-peak)), before)


def _keep_best(run: Run) -> None:
    if run.config.checkpoint.keep_best and run.process.rank == 0:
        said = {about_model.KEY: about_model.about(run.config, run.data, run.student.input_spec)}
        state = {"identity": run.identity(), **said, "epoch": run.best, **run.weights()}
        checkpoint_files.save(run.folder / checkpoint_files.BEST, state, wait_s=run.config.checkpoint.wait_s)


def _best_weights(run: Run, wanted: tuple[float, int] | None) -> dict[str, Any] | None:
    """From rank 0's folder: other processes need not see it."""
    path = run.folder / checkpoint_files.BEST
    if wanted is None or not path.exists():
        return None
    best = checkpoint_files.load(path)
    if tuple(best["epoch"]) != wanted:
        logger.warning("%s: not of epoch %d, the best; it is not scored", path, wanted[1])
        return None
    return best
