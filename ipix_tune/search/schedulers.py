"""The study's scheduler, in the state that its record leaves it in."""

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from ipix_tune.config.study_config import StudyConfig
from ipix_tune.search.asha import Asha
from ipix_tune.search.freeze_thaw import FreezeThaw
from ipix_tune.search.rungs import ladder
from ipix_tune.search.trial_store import TrialStore


def build_scheduler(study: StudyConfig, trials: TrialStore, *, max_epochs: int) -> TrialScheduler:
    """The study's scheduler.

    Args:
        study: the study file.
        trials: what the scheduler goes on from; one that has stopped trials go on is asked by it from now on.
        max_epochs: full length of a trial.
    """
    if study.scheduler.name == "none":
        return FIFOScheduler()
    if study.scheduler.name == "freeze_thaw":
        frozen = FreezeThaw(
            trials.fitted_surrogate,
            levels=ladder(study, max_epochs=max_epochs),
            seed=study.sampler.seed,
            records=trials.entries,
            may_begin=lambda: trials.remaining > 0,
            believed=bool(study.points) or any(one.prior is not None for one in study.search.values()),
        )
        trials.thaw = frozen.thaw
        return frozen
    scheduler = Asha(
        mode=study.objective.mode,
        max_epochs=max_epochs,
        grace_epochs=study.scheduler.grace_epochs,
        reduction=study.scheduler.reduction,
        quota=study.scheduler.quota,
        brackets=study.scheduler.brackets,
    )
    scheduler.replay(trials.entries())
    return scheduler
