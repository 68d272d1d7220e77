"""What scores are called, their unit, and differences of scores with it. Names of metrics are the trainer's."""

import re
from typing import Self

_SCORES = {
    "miou": "mIoU",
    "dice": "mean Dice",
    "accuracy": "pixel accuracy",
    "boundary_iou": "boundary IoU",
}
"""Scores in percent, by the last part of the metric's name."""
PERCENT = "%"
_OF_A_CLASS = {"iou": "IoU", "dice": "Dice"}


class Metric(str):
    """A metric's name, with its unit where a study states one: "%" for a percentage, "" for none. None: a name of our
    own trainer, which tells it."""

    unit: str | None

    def __new__(cls, name: str, unit: str | None = None) -> Self:
        made = super().__new__(cls, name)
        made.unit = unit
        return made


def stated(metric: str) -> str | None:
    """Its stated unit; None where there is none."""
    return metric.unit if isinstance(metric, Metric) else None


def is_miou(metric: str) -> bool:
    """Whether it is an mIoU of our own trainer, in percent."""
    return stated(metric) is None and "miou" in metric


def called(metric: str) -> str:
    """What people call a score of the network that a method evaluates, on held-out images: mIoU for `val/miou`, IoU of
    class 3 for `val/iou/3`. Other metrics go by their own name."""
    start, _, last = metric.rpartition("/")
    if stated(metric) is not None:
        return str(metric)
    if start == "val" and last in _SCORES:
        return _SCORES[last]
    if found := re.fullmatch(r"val/(iou|dice)/(\d+)", metric):
        return f"{_OF_A_CLASS[found[1]]} of class {found[2]}"
    return metric


def amount(value: str, metric: str) -> str:
    """A difference of scores with its unit, such as: 0.3 mIoU; empty metric: the value alone."""
    if not metric:
        return value
    if not is_percent(metric):
        return f"{value} {stated(metric)} of {metric}" if stated(metric) else f"{value} in {metric}"
    if stated(metric) is not None:
        return f"{value} points of {metric}"
    name = called(metric.replace("/recent/", "/"))
    return f"{value} mIoU" if name == "mIoU" else f"{value} points of {name}"


def axis(metric: str) -> str:
    """A metric with its unit, as an axis says it, such as: mIoU (%)."""
    if stated(metric):
        return f"{metric} ({stated(metric)})"
    return f"{called(metric)} (%)" if is_percent(metric) else str(metric)


def is_percent(metric: str) -> bool:
    """Whether a metric is a percentage: by its stated unit, else by its name, as IoU, Dice and accuracy are."""
    if (unit := stated(metric)) is not None:
        return unit == PERCENT
    return metric.rpartition("/")[2] in _SCORES or re.search(r"/(iou|dice)/\d+$", metric) is not None
