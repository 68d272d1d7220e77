"""A run's progress for people: a moving line on a terminal, a plain line per epoch elsewhere."""

import math
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from trainers.interface.epoch_record import Decision, EpochRecord


class ProgressLine:
    """A callback and step hook of `trainers.loop.fit.fit`; silent where ``shown`` is false (all ranks but the
    first)."""

    def __init__(self, console: Console, *, epochs: int, shown: bool, classes: Sequence[str] | None = None) -> None:
        self._console = console
        self._classes = classes
        self._epochs = epochs
        self._shown = shown
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} steps"),
            TimeRemainingColumn(), console=console, transient=True, disable=not (shown and console.is_terminal),
        )  # fmt: skip
        self._task = self._bar.add_task("training", total=None)

    def __enter__(self) -> "ProgressLine":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def step(self, done: int, total: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=done, total=total)

    def epoch(self, record: EpochRecord) -> Decision:
        """Print the epoch's line."""
        if self._shown:
            text = line(record, epochs=self._epochs, classes=self._classes)
            self._console.print(text, highlight=False, soft_wrap=True, markup=False)
        return Decision.CONTINUE


def line(record: EpochRecord, *, epochs: int, classes: Sequence[str] | None = None) -> str:
    """`epoch 3/80  step 120  loss 0.512  val/miou 41.20 (lowest: cat 3.10)  2.1 s`; the class with the lowest IoU where
    their names are given."""
    metrics = record.metrics
    score = metrics.get("val/miou", math.nan)
    parts = [f"epoch {record.epoch}/{epochs}", f"step {record.step}", f"loss {metrics['train/loss']:.4f}"]
    if not math.isnan(score):
        iou = [(metrics[f"val/iou/{i}"], name) for i, name in enumerate(classes or ()) if f"val/iou/{i}" in metrics]
        lowest = " (lowest: {1} {0:.2f})".format(*min(iou)) if iou else ""
        parts.append(f"val/miou {score:.2f}{lowest}")
    return "  ".join([*parts, f"{metrics['time/epoch_s']:.1f} s"])
