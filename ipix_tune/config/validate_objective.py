"""Which metrics a study can be scored by: those that `trainers.interface.epoch_record` lists; and what goes with two of
them."""

import re
from typing import Any

from ipix_tune.config.search_space import SpaceError
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.config.train_keys import get_dotted
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


def check_objective(study: StudyConfig) -> None:
    """Refuse an objective that no epoch reports, and what a second one does not go with.

    Raises:
        SpaceError: with the nearest metric that there is, or the reason.
    """
    objective, against = study.objective, study.objective.against
    _check_metric(objective.metric, path=("objective", "metric"), examples=_EXAMPLES, trainer=study.trainer)
    if against is None:
        return
    where = ("objective", "against")
    _check_metric(against.metric, path=(*where, "metric"), examples=(*_COSTS, *_EXAMPLES), trainer=study.trainer)
    if against.metric == objective.metric:
        raise SpaceError(
            f"objective.against.metric = {against.metric} is objective.metric too; name another, such as time/step_ms",
            path=(*where, "metric"),
        )
    if study.sampler.name == "cmaes":
        raise SpaceError(
            "sampler.name = cmaes with objective.against: CMA-ES has one objective; use tpe, gp, random or grid",
            path=("sampler", "name"),
        )
    if study.warm_start:
        raise SpaceError(
            "warm_start with objective.against: TPE is shown earlier trials by their place on one objective, and a "
            "place on a front is none; remove one of the two",
            path=("warm_start",),
        )
    if study.budget.no_improvement is not None:
        raise SpaceError(
            "budget.no_improvement with objective.against: it watches one objective, and a trial that is no better "
            "there may still be on the front; use budget.trials, hours, epochs or gpu_hours",
            path=("budget", "no_improvement"),
        )


def _check_metric(name: str, *, path: tuple[str, ...], examples: tuple[str, ...], trainer: dict[str, Any]) -> None:
    key = ".".join(path)
    if name.startswith("final/"):
        raise SpaceError(
            f"{key} = {name} is measured on the validation list (data.val), which a search must not see; use val/miou",
            path=path,
        )
    if re.fullmatch(r"val/(iou|dice)/.+", name):
        _check_class(name, key=key, path=path, trainer=trainer)
    if not any(re.fullmatch(pattern, name) for pattern in _PATTERNS):
        hint = did_you_mean(name, examples) or f"; there are {', '.join(examples)}, ..."
        raise SpaceError(f"{key} = {name} is not a metric of the trainer{hint}", path=path)
    if name == "val/boundary_iou" and get_dotted(trainer, "evaluation.boundary_width") is None:
        raise SpaceError(
            f"{key} = {name} is scored only where trainer.evaluation.boundary_width says how wide the bands are; set "
            "it, usual is 0.02 of the image's diagonal",
            path=path,
        )


def _check_class(name: str, *, key: str, path: tuple[str, ...], trainer: dict[str, Any]) -> None:
    """A class's score goes by its number; a name is answered with the number."""
    start, _, last = name.rpartition("/")
    classes, number = get_dotted(trainer, "data.classes"), get_dotted(trainer, "data.num_classes")
    names = list(classes) if isinstance(classes, list | tuple) else []
    count = number if isinstance(number, int) else len(names)
    if last.isdecimal() and (not count or int(last) < count):
        return
    if last in names:
        raise SpaceError(f"{key} = {name}: classes go by their number, write {start}/{names.index(last)}", path=path)
    allowed = f"0 to {count - 1}" if count else "0, 1, ..."
    raise SpaceError(
        f"{key} = {name}: classes go by their number, {allowed}, in the order of the class names"
        f"{did_you_mean(last, names)}",
        path=path,
    )
