"""ASHA whose rungs are keyed by the study's own trial keys, so that a resumed study can fill them again."""

import math
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from ipix_tune.config import StudyConfig
from ipix_tune.journal import Entry

EPOCH, SCORE, METRICS = "epoch", "objective", "metrics"
"""Keys of a result: how far, how good, and all that the trainer reports."""


class KeyedAsha(ASHAScheduler):
    """Ray Tune's ASHA with one bracket. Tune gives a trial a new id after a resume; the key stays.

    Args:
        mode: max or min.
        max_epochs: full length of a trial.
        grace_epochs: the first rung.
        reduction: one in so many goes on.
    """

    def __init__(self, *, mode: str, max_epochs: int, grace_epochs: int, reduction: int) -> None:
        super().__init__(
            time_attr=EPOCH,
            metric=SCORE,
            mode=mode,
            max_t=max_epochs,
            grace_period=min(grace_epochs, max_epochs),
            reduction_factor=reduction,
            stop_last_trials=False,
        )
        self._sign = 1.0 if mode == "max" else -1.0

    @property
    def rungs(self) -> dict[int, dict[str, float]]:
        """Scores recorded at every rung, by trial key, lowest rung first; the sign is such that more is better."""
        return {int(rung): dict(scores) for rung, scores in reversed(self._brackets[0]._rungs)}

    def replay(self, entries: Iterable[Entry]) -> None:
        """Fill the rungs from what a journal recorded; decisions made then are not made again."""
        for entry in entries:
            for epoch, score in sorted(entry.scores.items()):
                self._record(entry.key, epoch, score)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        if SCORE not in result:
            return str(TrialScheduler.CONTINUE)
        return self._record(trial.config["key"], int(result[EPOCH]), float(result[SCORE]))

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """All trials share the one bracket."""

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> None:
        """Its last score has been recorded already."""

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """What it scored stays in the rungs."""

    def _record(self, key: str, epoch: int, score: float) -> str:
        if epoch >= self._max_t or not math.isfinite(score):
            return str(TrialScheduler.CONTINUE)
        keyed: Any = SimpleNamespace(trial_id=key)
        decision: str = self._brackets[0].on_result(keyed, epoch, self._sign * score)
        return decision


def build_scheduler(study: StudyConfig, *, max_epochs: int) -> TrialScheduler:
    """The study's scheduler, with empty rungs."""
    if study.scheduler.name == "none":
        return FIFOScheduler()
    return KeyedAsha(
        mode=study.objective.mode,
        max_epochs=max_epochs,
        grace_epochs=study.scheduler.grace_epochs,
        reduction=study.scheduler.reduction,
    )
