"""What a run scores after an epoch, and its best weights."""

import logging
import time
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import torch

from trainers import checkpoint
from trainers.data.layout import Item
from trainers.evaluate import evaluate
from trainers.gauge import peak_mib
from trainers.run import Run

logger = logging.getLogger(__name__)

RECENT = "val/recent/miou"


def evaluate_epoch(run: Run, epoch: int) -> dict[str, float]:
    """Scores on the held-out images where they are due, the best epoch kept; after the last epoch of a final run also
    those of `data.val`, with the last and with the best weights."""
    config, last = run.config, epoch == run.config.schedule.epochs
    metrics: dict[str, float] = {}
    begun = time.monotonic()
    if run.data.holdout and (last or epoch % config.evaluation.every == 0):
        metrics |= _scores(run, run.data.holdout, "val")
        metrics[RECENT] = _recent(run, metrics["val/miou"])
        if run.best is None or metrics["val/miou"] > run.best[0]:
            run.best = (metrics["val/miou"], epoch)
            _keep_best(run)
    run.method.after_epoch(metrics.get("val/miou"))
    if last and config.evaluation.final:
        metrics |= final_scores(run)
    metrics["time/eval_s"] = time.monotonic() - begun
    metrics["memory/peak_mib"] = _peak_mib(run)
    return metrics


def final_scores(run: Run) -> dict[str, float]:
    """On the images of `data.val`: with the last weights, and with the best ones where they are kept."""
    found = _scores(run, run.data.val, "final/last")
    best = _best_weights(run) if run.process.rank == 0 else None
    if run.best is None or not run.process.agree(best is not None):
        return found
    now = {part: {name: value.clone() for name, value in state.items()} for part, state in run.weights().items()}
    if best is not None:
        run.load_weights(best)
    run.process.share(value for network in run.method.networks().values() for value in network.state_dict().values())
    found |= _scores(run, run.data.val, "final/best")
    run.load_weights(now)
    return {**found, "final/best/epoch": float(run.best[1])}


def _scores(run: Run, items: Sequence[Item], prefix: str) -> dict[str, float]:
    return evaluate(
        run.method.networks(),
        items,
        config=run.config,
        reader=run.reader,
        num_classes=run.data.num_classes,
        process=run.process,
        main=run.method.eval_network,
        prefix=prefix,
    )


def _recent(run: Run, latest: float) -> float:
    """The mean of ``latest`` and the evaluations just before it, `evaluation.recent` in all where there are so many."""
    before = [record.metrics["val/miou"] for record in run.records if "val/miou" in record.metrics]
    return fmean([*before, latest][-run.config.evaluation.recent :])


def _peak_mib(run: Run) -> float:
    """Of the process that took most, over the whole run: one that was resumed keeps the peak that it had."""
    peak = torch.tensor(peak_mib(run.process.device), dtype=torch.float64, device=run.process.device)
    before = run.records[-1].metrics.get("memory/peak_mib", 0.0) if run.records else 0.0
    return max(-float(run.process.min_(-peak)), before)


def _keep_best(run: Run) -> None:
    if run.config.checkpoint.keep_best and run.process.rank == 0:
        state = {"identity": run.identity(), "epoch": run.best, **run.weights()}
        checkpoint.save(run.folder / checkpoint.BEST, state, wait_s=run.config.checkpoint.wait_s)


def _best_weights(run: Run) -> dict[str, Any] | None:
    """From rank 0's folder: other processes need not see it."""
    path = run.folder / checkpoint.BEST
    if run.best is None or not path.exists():
        return None
    best = checkpoint.load(path)
    if best["epoch"] != run.best:
        logger.warning("%s: not of epoch %d, the best; it is not scored", path, run.best[1])
        return None
    return best
