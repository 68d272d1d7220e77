"""`budget.stop: regret`: no new trial once what is left to gain is below what seeds differ by."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.search.rungs import rungs
from ipix_tune.search.trial_record import TrialRecord, trial_number

if TYPE_CHECKING:
    from analysis.stats.study import StudyTrials

FIRST, GROWTH = 20, 1.25
"""Ended trials at the first look, and how many times as many at each further one, at least."""
IN_A_ROW = 2
"""Looks in a row that must find too little left."""


class RegretStop:
    """Looks at the study with the report's surrogate (`analysis.stats.sensitivity.regret`) as its trials end, the less
    often the more there are: a look takes about a second of the driver's time at 100 trials.

    Args:
        study: the study file, with one objective.
        space: its search space.
        max_epochs: full length of a trial.
    """

    def __init__(self, study: StudyConfig, space: SearchSpace, *, max_epochs: int) -> None:
        self._study, self._space, self._max_epochs = study, space, max_epochs
        self._next = FIRST
        self._low = 0
        self._reason: str | None = None

    def why(self, ended: int, entries: Callable[[], Sequence[TrialRecord]]) -> str | None:
        """Why no new trial is worth starting; None while one is.

        Args:
            ended: how many trials have ended.
            entries: gives them, and those that run.
        """
        if self._reason is None and ended >= self._next:
            self._next = max(ended + 1, math.ceil(ended * GROWTH))
            self._look(entries())
        return self._reason

    def _look(self, entries: Sequence[TrialRecord]) -> None:
        from analysis.stats.sensitivity.regret import regret, say

        found = regret(self._as_study(entries))
        self._low = self._low + 1 if found is not None and found.below_noise else 0
        if found is not None and self._low >= IN_A_ROW:
            self._reason = say(found)

    def _as_study(self, entries: Sequence[TrialRecord]) -> "StudyTrials":
        from analysis.stats.study import StudyTrials, Trial

        objective, scheduler = self._study.objective, self._study.scheduler
        trials = [
            Trial(
                run_id=one.key,
                number=trial_number(one.key),
                state=one.state,
                error=one.error,
                retries=one.retries,
                seed=None,
                epochs=max(one.scores, default=0),
                values={**one.values},
                curve=one.scores,
                runtime_s=0.0,
                ended_at=0.0,
            )
            for one in entries
            if one.state not in ("failed", "infeasible")
        ]
        return StudyTrials(
            name=self._study.name,
            metric=objective.metric,
            mode=objective.mode,
            max_epochs=self._max_epochs,
            rungs=rungs(self._study, max_epochs=self._max_epochs),
            grace_epochs=scheduler.grace_epochs,
            reduction=scheduler.reduction,
            space=self._space.describe(),
            trials=tuple(trials),
            split_hash=None,
            git_commit=None,
        )
