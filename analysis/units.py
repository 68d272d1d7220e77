"""What scores are called, their unit, and differences of scores with it. Names of metrics are the trainer's."""

import re

_SCORES = {
    "miou": "mIoU",
    "dice": "mean Dice",
    "accuracy": "pixel accuracy",
    "boundary_iou": "boundary IoU",
}
"""Scores in percent, by the last part of the metric's name."""
_OF_A_CLASS = {"iou": "IoU", "dice": "Dice"}


def called(metric: str) -> str:
    """What people call a score of the network that a method evaluates, on held-out images: mIoU for `val/miou`, IoU of
    class 3 for `val/iou/3`. Other metrics go by their own name."""
    start, _, last = metric.rpartition("/")
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
        return f"{value} in {metric}"
    name = called(metric.replace("/recent/", "/"))
    return f"{value} mIoU" if name == "mIoU" else f"{value} points of {name}"


def axis(metric: str) -> str:
    """A metric with its unit, as an axis says it, such as: mIoU (%)."""
    return f"{called(metric)} (%)" if is_percent(metric) else metric


def is_percent(metric: str) -> bool:
    """Whether a metric is a percentage, as IoU, Dice and accuracy are."""
    return metric.rpartition("/")[2] in _SCORES or re.search(r"/(iou|dice)/\d+$", metric) is not None
