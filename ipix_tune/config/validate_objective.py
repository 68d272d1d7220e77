"""Whether a study's trainer reports what it is scored and bounded by, and what goes with two objectives."""

from ipix_tune.config.study_config import StudyConfig
from ipix_tune.trainer.interface import SpaceError, Trainer


def check_objective(study: StudyConfig, trainer: Trainer) -> None:
    """Refuse an objective or a constraint that no epoch reports, and what a second one does not go with.

    Raises:
        SpaceError: with the nearest metric that there is, or the reason.
    """
    objective, second = study.objective, study.objective.second_objective
    _check_metric(study, trainer, objective.metric, path=("objective", "metric"), cost=False)
    for name in study.constraints:
        if fault := trainer.metric_fault(name, study.trainer, cost=True):
            raise SpaceError(f"constraints: {name}{fault}", path=("constraints", name))
    if second is None:
        return
    where = ("objective", "second_objective")
    _check_metric(study, trainer, second.metric, path=(*where, "metric"), cost=True)
    if second.metric == objective.metric:
        raise SpaceError(
            f"objective.second_objective.metric = {second.metric} is objective.metric too; name another, such as "
            "time/step_ms",
            path=(*where, "metric"),
        )
    if study.sampler.name == "cmaes":
        raise SpaceError(
            "sampler.name = cmaes with objective.second_objective: CMA-ES has one objective; use tpe, gp, random "
            "or grid",
            path=("sampler", "name"),
        )
    if study.warm_start:
        raise SpaceError(
            "warm_start with objective.second_objective: TPE is shown earlier trials by their rank in one objective, "
            "and trials on a front have no such rank; remove one of the two",
            path=("warm_start",),
        )
    if study.budget.no_improvement is not None:
        raise SpaceError(
            "budget.no_improvement with objective.second_objective: it watches one objective, and a trial that is no "
            "better there may still be on the front; use budget.trials, hours, epochs or gpu_hours",
            path=("budget", "no_improvement"),
        )
    if study.budget.stop is not None:
        raise SpaceError(
            f"budget.stop = {study.budget.stop} with objective.second_objective: it knows what is left to gain in one "
            "objective; use budget.trials, hours, epochs or gpu_hours",
            path=("budget", "stop"),
        )


def _check_metric(study: StudyConfig, trainer: Trainer, name: str, *, path: tuple[str, ...], cost: bool) -> None:
    if fault := trainer.metric_fault(name, study.trainer, cost=cost):
        raise SpaceError(f"{'.'.join(path)} = {name}{fault}", path=path)
