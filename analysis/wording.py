"""Words that several sentences of the report share, and the unit of its scores."""

from collections.abc import Sequence

LISTED = 12
"""Names in one sentence; a study over methods has fifty parameters."""


def listed(names: Sequence[str]) -> str:
    """The names, or the first `LISTED` of them and how many others there are."""
    if len(names) <= LISTED:
        return ", ".join(names)
    return f"{', '.join(names[:LISTED])} and {len(names) - LISTED} others"


def is_percent(metric: str) -> bool:
    """Whether a metric is a percentage, as those of intersection over union are."""
    return "iou" in metric
