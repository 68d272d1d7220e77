"""ASHA whose rungs are keyed by the study's own trial keys, so that a resumed study can fill them again."""

import math
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from ipix_tune.config.study_config import StudyConfig
from ipix_tune.search.trial_record import TrialRecord

EPOCH, SCORE, METRICS = "epoch", "objective", "metrics"
"""Keys of a result: how far, how good, and all that the trainer reports."""


class KeyedAsha(ASHAScheduler):
    """Ray Tune's ASHA with one bracket. Tune gives a trial a new id after a resume; the key stays.

    A rung asks whether a score is among the best 1 in ``reduction`` so far. When the searcher learns, almost every new
    score is, and almost every trial would run in full. With ``quota``, a rung lets no more than 1 in ``reduction`` of
    all its trials go on; the best score so far goes on all the same.

    Args:
        mode: max or min.
        max_epochs: full length of a trial.
        grace_epochs: the first rung.
        reduction: one in so many goes on.
        quota: hold each rung to that.
    """

    def __init__(self, *, mode: str, max_epochs: int, grace_epochs: int, reduction: int, quota: bool = False) -> None:
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
        self._quota = quota
        self._passed: dict[int, set[str]] = {}
        self._stopped: dict[str, int] = {}

    @property
    def rungs(self) -> dict[int, dict[str, float]]:
        """Scores recorded at every rung, by trial key, lowest rung first; the sign is such that more is better."""
        return {int(rung): dict(scores) for rung, scores in reversed(self._brackets[0]._rungs)}

    def replay(self, entries: Iterable[TrialRecord]) -> None:
        """Fill the rungs from what a journal recorded; decisions made then are not made again. A trial that was to be
        stopped when the driver died is stopped when it reports that epoch again."""
        for entry in entries:
            last = max(entry.scores, default=0)
            stopped = entry.state == "stopped" or (entry.state == "running" and entry.stops == last)
            for epoch, score in sorted(entry.scores.items()):
                rung = self._enter(entry.key, epoch, score)[1]
                if rung is not None and not (stopped and epoch == last):
                    self._passed.setdefault(rung, set()).add(entry.key)
            if stopped and entry.state == "running":
                self._stopped[entry.key] = last

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
        if self._stopped.get(key) == epoch:
            return str(TrialScheduler.STOP)
        decision, rung = self._enter(key, epoch, score)
        if rung is None or decision == TrialScheduler.STOP:
            return decision
        if self._quota and not self._has_room(rung, key):
            return str(TrialScheduler.STOP)
        self._passed.setdefault(rung, set()).add(key)
        return decision

    def _enter(self, key: str, epoch: int, score: float) -> tuple[str, int | None]:
        """What Tune's rule decides, and the rung that took the score, if any did."""
        if epoch >= self._max_t or not math.isfinite(score):
            return str(TrialScheduler.CONTINUE), None
        before = {rung: len(scores) for rung, scores in self.rungs.items()}
        keyed: Any = SimpleNamespace(trial_id=key)
        decision: str = self._brackets[0].on_result(keyed, epoch, self._sign * score)
        return decision, next((rung for rung, scores in self.rungs.items() if len(scores) > before[rung]), None)

    def _has_room(self, rung: int, key: str) -> bool:
        """Whether fewer than 1 in `reduction` of the rung's trials have gone on, or this is the best of them."""
        scores = self.rungs[rung]
        passed = len(self._passed.get(rung, ()))
        return passed * self._reduction_factor < len(scores) or scores[key] >= max(scores.values())


def build_scheduler(study: StudyConfig, *, max_epochs: int) -> TrialScheduler:
    """The study's scheduler, with empty rungs."""
    if study.scheduler.name == "none":
        return FIFOScheduler()
    return KeyedAsha(
        mode=study.objective.mode,
        max_epochs=max_epochs,
        grace_epochs=study.scheduler.grace_epochs,
        reduction=study.scheduler.reduction,
        quota=study.scheduler.quota,
    )
