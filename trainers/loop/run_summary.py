"""What a run says to people when it has ended."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainers.interface.epoch_record import EpochRecord

if TYPE_CHECKING:
    from trainers.config import TrainConfig


def validation_called(config: "TrainConfig") -> str:
    """What the images of `data.val` are: a benchmark's set has a name, a list of one's own is a list."""
    return "official validation set" if type(config.data).official_val else "validation list"


def named_classes(config: "TrainConfig") -> Sequence[str] | None:
    """The names that the config gives to its classes; None where it gives none."""
    names: Sequence[str] | None = getattr(config.data, "classes", None)
    return names


def closing_lines(config: "TrainConfig", records: Sequence[EpochRecord]) -> list[str]:
    """Scores with what they are worth: which images, which epoch, which budget, one seed."""
    last, lines = records[-1], []
    best = max(records, key=lambda record: record.metrics.get("val/miou", -1.0))
    if "val/miou" in last.metrics:
        lines.append(
            f"held-out training images: mIoU {last.metrics['val/miou']:.2f} % in the last epoch, "
            f"{best.metrics['val/miou']:.2f} % in the best (epoch {best.epoch}){_left_out(config, last, 'val')}"
        )
    names = named_classes(config) or ()
    prefix = "final/last" if "final/last/miou" in last.metrics else "val"
    if "final/last/miou" in last.metrics:
        text = f"{validation_called(config)}: mIoU {last.metrics['final/last/miou']:.2f} % with the last weights"
        if "final/best/miou" in last.metrics:
            text += f", {last.metrics['final/best/miou']:.2f} % with those of epoch {best.epoch}"
        lines.append(text + _left_out(config, last, "final/last"))
    iou = {name: last.metrics.get(f"{prefix}/iou/{index}") for index, name in enumerate(names)}
    if any(value is not None for value in iou.values()):
        shown = ", ".join(
            f"{name} {'absent' if value is None else format(value, '.2f')}" for name, value in iou.items()
        )
        lines.append(f"IoU by class, in % with the last weights: {shown}")
    lines.append(
        f"1 seed ({config.seed}), {last.epoch} epochs, {last.step} steps, split {last.split_hash[:12]}; "
        "seeds of one config differ, so one run decides nothing"
    )
    if lost := never_found(records):
        known = names or config.data.layout().classes
        lines.append(
            f"never found: {', '.join(known[index] for index in lost)} (IoU 0 in every evaluation); "
            'docs/reference/training.md, "Rare classes", says what may help'
        )
    return lines


def never_found(records: Sequence[EpochRecord]) -> list[int]:
    """Classes whose IoU was 0 at every evaluation: not one of their pixels was found. On the held-out images, or where
    there are none on the validation list. A class that an evaluation has no score of is in none of these images' masks:
    where it was predicted, its IoU was 0 for that."""
    held_out = any("val/miou" in record.metrics for record in records)
    prefix = "val/iou/" if held_out else "final/last/iou/"
    evaluations = [
        {int(name.removeprefix(prefix)): value for name, value in record.metrics.items() if name.startswith(prefix)}
        for record in records
    ]
    scored = [one for one in evaluations if one]
    always = set.intersection(*map(set, scored)) if scored else set()
    return sorted(index for index in always if all(one[index] == 0 for one in scored))


def _left_out(config: "TrainConfig", record: EpochRecord, prefix: str) -> str:
    """How many classes the mean is not over: neither there nor predicted."""
    absent = int(record.metrics.get(f"{prefix}/absent_classes", 0))
    if not absent or config.evaluation.absent == "zero":
        return ""
    return f", without {absent} class{'es' if absent > 1 else ''} neither in the masks nor predicted"
