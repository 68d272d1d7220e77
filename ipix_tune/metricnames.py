"""Which metrics a study can be scored by: those that `trainers.report` lists."""

import re

from ipix_tune.space import SpaceError
from trainers.errors import did_you_mean

_PATTERNS = (
    r"train/(loss|lr|skipped_images)",
    r"train/loss/\w+",
    r"train/interpixel/(omega|empty|ramp)",
    r"val/(miou|absent_classes)",
    r"val/\w+/miou",
    r"val/iou/\d+",
    r"time/(epoch_s|eval_s)",
)
_EXAMPLES = ("val/miou", "val/student/miou", "val/teacher/miou", "val/iou/0", "train/loss")


def check_metric(name: str) -> None:
    """Refuse an objective that no epoch reports.

    Raises:
        SpaceError: with the nearest metric that there is.
    """
    path = ("objective", "metric")
    if name.startswith("final/"):
        raise SpaceError(
            f"objective.metric = {name} is measured on the official validation set, which a search must not see; "
            "use val/miou",
            path=path,
        )
    if not any(re.fullmatch(pattern, name) for pattern in _PATTERNS):
        hint = did_you_mean(name, _EXAMPLES) or f"; there are {', '.join(_EXAMPLES)}, ..."
        raise SpaceError(f"objective.metric = {name} is not a metric of the trainer{hint}", path=path)
