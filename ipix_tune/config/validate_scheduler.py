"""What the sampler `surrogate` and the scheduler `freeze_thaw` go with."""

from ipix_tune.config.study_config import StudyConfig
from ipix_tune.trainer.interface import SpaceError


def check_scheduler(study: StudyConfig) -> None:
    """Refuse what cannot work together.

    Raises:
        SpaceError: with the reason and the way out.
    """
    sampler, scheduler = study.sampler.name, study.scheduler
    if sampler == "surrogate" and study.objective.second_objective is not None:
        raise SpaceError(
            "sampler.name = surrogate with objective.second_objective: the surrogate has one objective; use tpe, gp, "
            "random or grid",
            path=("sampler", "name"),
        )
    if scheduler.name != "freeze_thaw":
        return
    if sampler != "surrogate":
        raise SpaceError(
            f"scheduler.name = freeze_thaw with sampler.name = {sampler}: the surrogate decides which trial goes on, "
            "so it has to learn from all of them; set sampler.name: surrogate, or scheduler.name: asha",
            path=("scheduler", "name"),
        )
    if scheduler.brackets > 1:
        raise SpaceError(
            f"scheduler.brackets = {scheduler.brackets} with scheduler.name = freeze_thaw: brackets are kinds of trial "
            "that asha judges later; leave it out, or use a longer scheduler.grace_epochs",
            path=("scheduler", "brackets"),
        )
    if "command" in study.trainer and study.trainer.get("resume") is None:
        raise SpaceError(
            "scheduler.name = freeze_thaw has trials go on that were stopped, and trainer.resume does not say how the "
            "command goes on from what it left; give it, or use scheduler.name: asha",
            path=("scheduler", "name"),
        )
