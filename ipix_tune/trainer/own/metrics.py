"""Which metrics a study of our trainer can be scored by: those that `trainers.interface.epoch_record` lists."""

import re
from collections.abc import Mapping
from typing import Any

from trainers.common.config_keys import get_dotted
from trainers.common.errors import did_you_mean

_PATTERNS = (
    r"train/(loss|lr|skipped_images)",
    r"train/loss/\w+",
    r"train/interpixel/(omega|empty|ramp)",
    r"val/(miou|dice|accuracy|boundary_iou|absent_classes)",
    r"val/\w+/miou",
    r"val/(iou|dice)/\d+",
    r"time/(epoch_s|step_ms|eval_s)",
    r"memory/peak_mib",
)
_EXAMPLES = (
    *("val/miou", "val/recent/miou", "val/student/miou", "val/teacher/miou", "val/iou/0", "val/dice", "val/dice/0"),
    *("val/accuracy", "val/boundary_iou", "train/loss"),
)
_COSTS = ("time/step_ms", "time/epoch_s", "time/eval_s", "memory/peak_mib")


def metric_fault(name: str, section: Mapping[str, Any], *, cost: bool) -> str | None:
    """Why no epoch reports this metric, with the nearest that there is; None where it may be one.

    Args:
        section: the study's `trainer` section.
        cost: it is asked for as a second objective.
    """
    if name.startswith("final/"):
        return " is measured on the validation list (data.val), which a search must not see; use val/miou"
    if re.fullmatch(r"val/(iou|dice)/.+", name) and (fault := _class_fault(name, section)) is not None:
        return fault
    if not any(re.fullmatch(pattern, name) for pattern in _PATTERNS):
        examples = (*_COSTS, *_EXAMPLES) if cost else _EXAMPLES
        listed = ", ".join(examples)
        return f" is not a metric of the trainer{did_you_mean(name, examples) or f'; there are {listed}, ...'}"
    if name == "val/boundary_iou" and get_dotted(section, "evaluation.boundary_width") is None:
        return (
            " is scored only where trainer.evaluation.boundary_width says how wide the bands are; set it, usual is "
            "0.02 of the image's diagonal"
        )
    return None


def _class_fault(name: str, section: Mapping[str, Any]) -> str | None:
    """A class's score goes by its number; a name is answered with the number."""
    start, _, last = name.rpartition("/")
    classes, number = get_dotted(section, "data.classes"), get_dotted(section, "data.num_classes")
    names = list(classes) if isinstance(classes, list | tuple) else []
    count = number if isinstance(number, int) else len(names)
    if last.isdecimal() and (not count or int(last) < count):
        return None
    if last in names:
        return f": classes go by their number, write {start}/{names.index(last)}"
    allowed = f"0 to {count - 1}" if count else "0, 1, ..."
    return f": classes go by their number, {allowed}, in the order of the class names{did_you_mean(last, names)}"
