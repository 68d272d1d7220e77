"""When a study has had enough: its time, epochs or GPU hours are used up, or nothing gets better any more."""

from collections.abc import Sequence

from analysis.stats.best import INFEASIBLE, Standings, settings_of
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import BudgetConfig, StudyConfig
from ipix_tune.search.regret_stop import RegretStop
from ipix_tune.search.trial_record import TrialRecord
from ipix_tune.search.trial_store import TrialStore
from ipix_tune.trainer.resources import ResourcesConfig


class Budget:
    """What is left of a study's budget, over all its drivers.

    Args:
        config: the study's `budget`.
        resources: what a trial takes.
        trials: the study's record.
        max_epochs: full length of a trial.
        sign: 1 where more is better, else -1.
        regret: asked where the config has `stop: regret`.
    """

    def __init__(
        self,
        config: BudgetConfig,
        resources: ResourcesConfig,
        trials: TrialStore,
        *,
        max_epochs: int,
        sign: int,
        regret: RegretStop | None = None,
    ) -> None:
        self._config = config
        self._gpus = resources.workers * resources.gpus_per_worker
        self._trials = trials
        self._max_epochs, self._sign = max_epochs, sign
        self._regret = regret if config.stop == "regret" else None

    def exhausted(self) -> str | None:
        """The key of what is used up: running trials are then stopped. None while there is some left."""
        config, trials = self._config, self._trials
        if config.hours is not None and trials.seconds > config.hours * 3600:
            return "budget.hours"
        if config.epochs is not None and trials.epochs >= config.epochs:
            return "budget.epochs"
        if config.gpu_hours is not None and trials.trained_s * self._gpus > config.gpu_hours * 3600:
            return "budget.gpu_hours"
        return None

    def converged(self) -> str | None:
        """Why no new trial is worth starting, with the key of the rule; running ones go on to their end. None while
        there is hope."""
        if self._regret is not None:
            why = self._regret.why(len(self._trials.ended()), self._trials.entries)
            if why is not None:
                return f"budget.stop: {why}"
        rule = self._config.no_improvement
        if rule is None:
            return None
        since = ended_since_improvement(self._trials.ended(), max_epochs=self._max_epochs, by=rule.by, sign=self._sign)
        if since < rule.trials:
            return None
        more = f"better than the best before them by more than {rule.by:g}"
        return f"budget.no_improvement: none of the last {since} trials was {more}"


def budget_of(study: StudyConfig, space: SearchSpace, trials: TrialStore, *, max_epochs: int) -> Budget:
    """The budget of a study's search."""
    return Budget(
        study.budget,
        study.resources,
        trials,
        max_epochs=max_epochs,
        sign=study.objective.sign,
        regret=RegretStop(study, space, max_epochs=max_epochs),
    )


def ended_since_improvement(entries: Sequence[TrialRecord], *, max_epochs: int, by: float, sign: int) -> int:
    """Trials that ended after the best configuration last was better than the best before by more than ``by``.

    The best goes by the rule of `analysis.stats.best`: among trials of full length, by the mean over seeds. The bar
    rises by improvements larger than ``by`` only, so that many small ones add up; where more seeds show that the best
    so far was luck, it falls with the mean.

    Args:
        entries: trials in the order in which they ended.
    """
    barred = {settings_of(entry.values) for entry in entries if entry.state == INFEASIBLE}
    found, bar, since = Standings(max_epochs=max_epochs, sign=sign, barred=barred), None, 0
    for entry in entries:
        since += 1
        if entry.scored is None or not found.add(entry.scored) or found.best is None or not found.best.full:
            continue
        score = sign * found.best.score
        if bar is None or score > bar + by:
            bar, since = score, 0
        bar = min(bar, score)
    return since if bar is not None else 0
