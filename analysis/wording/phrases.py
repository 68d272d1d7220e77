"""Words that several sentences of the report share."""

from collections.abc import Mapping, Sequence
from typing import Any

OFFICIAL = ("voc", "cityscapes", "coco", "ade20k")
"""Data sets, by `data.name`, with a validation set on which papers report."""
OWN_LISTS = ("digits",)
"""Data sets that bring a validation list of their own, so that `data.val` may be left out."""
PUBLISHED_SPREAD = 0.5
"""About what seeds of one configuration differ by in points of mIoU, where a study has not measured it."""
PUBLISHED_BY = "three runs of one setting in UniMatch's published logs (Pascal VOC, 92 labels) lie 0.7 apart"
"""Where `PUBLISHED_SPREAD` comes from: scores of 75.46, 74.78 and 74.74."""
LISTED = 12
"""Names in one sentence; a study over methods has fifty parameters."""


def listed(names: Sequence[str]) -> str:
    """The names, or the first `LISTED` of them and how many others there are."""
    if len(names) <= LISTED:
        return ", ".join(names)
    return f"{', '.join(names[:LISTED])} and {len(names) - LISTED} others"


def configurations(count: int) -> str:
    """The count with its noun, such as: 1 configuration."""
    return f"{count} configuration{'s' * (count != 1)}"


def epochs(count: int) -> str:
    """The count with its noun, such as: 1 epoch."""
    return f"{count} epoch{'s' * (count != 1)}"


def shown(value: object, *, none: str = "None") -> str:
    """A setting's or a score's value: numbers to four digits, and ``none`` where there is none."""
    if value is None:
        return none
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """The time of several trials together, such as: 1.5 trial hours."""
    return f"{seconds / 3600:.1f} trial hours" if seconds >= 3600 else f"{seconds / 60:.1f} trial minutes"


def as_reported(metric: str) -> str:
    """What scores are measured on, of a trainer that is not ours."""
    return f"Scores are {metric} as the trainer reports it; which images it is measured on, the trainer's author knows."


def validation_called(data: Mapping[str, Any]) -> str:
    """What the images of `data.val` are, by the logged `data` section: a benchmark's validation set has a name, a list
    of one's own is a list. The trainer says it in the same words (`trainers.loop.run_summary.validation_called`)."""
    return "official validation set" if data.get("name") in OFFICIAL else "validation list"


def listed_trials(count: int) -> str:
    """Such as: 1 trial."""
    return "1 trial" if count == 1 else f"{count} trials"
