"""Ask and tell: a study's own search, record, early stopping and logs, around somebody else's loop."""

import contextlib
from dataclasses import dataclass, field
from typing import Any

from analysis.columns import State
from analysis.stats import constraints
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.trainer.interface import Config
from ipix_tune.trainer.resources import Value
from trainers.common.errors import UserError
from trainers.common.object_uri import is_uri


@dataclass(kw_only=True)
class OwnTrial:
    """One trial of a loop of one's own.

    Args:
        key: its name in the study, such as t0003.
        values: of the searched keys that are active in it.
        config: the whole config of the run, as the study's trainer makes it.
        max_epochs: its full length.
    """

    key: str
    values: dict[str, Value]
    config: Config
    max_epochs: int
    stopped: bool = False
    """Whether the scheduler has said that it should end, or a constraint of the study is broken."""
    infeasible: str | None = None
    """Which constraint it breaks, in words."""
    _study: "AskTell" = field(repr=False)
    _scores: dict[int, float] = field(default_factory=dict, repr=False)

    def report(self, epoch: int, score: float, **metrics: float) -> bool:
        """How the trial stands after an epoch; whether it should go on.

        Args:
            epoch: 1, 2, ... up to :attr:`max_epochs`.
            score: of the study's objective.
            metrics: more that is to be logged.
        """
        return self._study.report(self, epoch, score, metrics)


class AskTell:
    """A study that is asked for trials. It holds the study's folder until it is closed.

    Args:
        study: its file.

    Raises:
        UserError: the folder, the data or W&B cannot be used.
    """

    def __init__(self, study: StudyConfig) -> None:
        if is_uri(study.storage):
            raise UserError(
                f"storage: {study.storage}: ask and tell writes into a folder, and makes no copy in object storage; "
                "give a folder, or run the study with run()"
            )
        if study.scheduler.name == "freeze_thaw":
            raise UserError(
                "scheduler.name = freeze_thaw has trials that it stopped go on later, which a loop of your own would "
                "have to do; use asha or none with ask and tell, or run the study with run()"
            )
        self._stack = contextlib.ExitStack()
        try:
            self._begin(study)
        except BaseException:
            self._stack.close()
            raise

    def _begin(self, study: StudyConfig) -> None:
        from ipix_tune.search.asha import Asha
        from ipix_tune.search.budget import budget_of
        from ipix_tune.search.schedulers import build_scheduler
        from ipix_tune.search.trial_store import TrialStore
        from ipix_tune.storage import study_folder
        from ipix_tune.study.logged_facts import facts_of_search
        from ipix_tune.study.plan import make_plan
        from ipix_tune.tracking.runs import Tracker

        self._study, self._space = study, SearchSpace(study)
        self._plan = make_plan(study)
        self._open: dict[str, OwnTrial] = {}
        place = study_folder.study_folder(study)
        begun = (place / study_folder.STUDY).is_file()
        place = self._stack.enter_context(study_folder.prepared(study, resume=begun))
        self._store = TrialStore(
            place,
            study,
            self._space,
            total=self._plan.trials,
            max_epochs=self._plan.max_epochs,
            there=study_folder.trials_of(place, None),
        )
        self._facts = facts_of_search(study, self._space, self._plan)
        self._tracker = Tracker(place, study, self._facts.shared, describe=self._facts.describe)
        self._stack.callback(self._tracker.close)
        self._budget = budget_of(study, self._space, self._store, max_epochs=self._plan.max_epochs)
        scheduler: Any = build_scheduler(study, self._store, max_epochs=self._plan.max_epochs)
        self._asha: Asha | None = scheduler if isinstance(scheduler, Asha) else None

    def ask(self) -> OwnTrial | None:
        """The next trial; one that was open when the study was closed comes again first."""
        if self._budget.exhausted() is not None:
            return None
        found = self._store.next(begin=self._budget.converged() is None)
        if found is None:
            return None
        key, values = found
        config = self._facts.training(values)
        trial = OwnTrial(key=key, values=values, config=config, max_epochs=self._plan.max_epochs, _study=self)
        trial._scores.update(self._store.entry(key).scores)
        self._tracker.start(key, values=values, trainer=config.model_dump(mode="json"))
        self._open[key] = trial
        self._see(trial)
        return trial

    def report(self, trial: OwnTrial, epoch: int, score: float, metrics: dict[str, float]) -> bool:
        """See :meth:`OwnTrial.report`."""
        self._check(trial)
        if not 1 <= epoch <= trial.max_epochs:
            raise ValueError(f"epoch {epoch}: allowed are 1 to {trial.max_epochs} ({self._space.trainer.length_key})")
        self._tracker.log(trial.key, epoch=epoch, metrics={**metrics, self._study.objective.metric: score})
        told = {**metrics, self._study.objective.metric: score}
        self._store.measure(trial.key, told, last=epoch >= trial.max_epochs)
        self._see(trial)
        if trial.infeasible is not None and self._asha is not None:
            self._asha.forget(trial.key)
        elif self._asha is not None and self._asha.decide(trial.key, epoch, score) == "STOP":
            self._store.stop(trial.key, epoch=epoch)  # before the score: a study that dies in between asks once more
            trial.stopped = True
        second = None if self._store.second_metric is None else metrics.get(self._store.second_metric)
        self._store.report(trial.key, epoch=epoch, score=score, second_score=second)
        trial._scores[epoch] = score
        return not trial.stopped

    def _see(self, trial: OwnTrial) -> None:
        """Whether the record has it that the trial breaks a constraint."""
        if beyond := self._store.entry(trial.key).broken:
            trial.infeasible, trial.stopped = constraints.said(self._study.bounds, beyond), True

    def tell(self, trial: OwnTrial, score: float | None, *, epoch: int | None, error: str | None) -> None:
        """See `Study.tell`."""
        self._check(trial)
        if score is not None:
            self.report(trial, trial.max_epochs if epoch is None else epoch, score, {})
        if error is None and not trial._scores:
            raise ValueError(f"{trial.key}: give its score, or say by error= why it has none")
        known = self._store.entry(trial.key).measured
        last = max(trial._scores, default=0)
        full = last >= trial.max_epochs
        state: State = "failed" if error is not None else "complete" if full else "stopped"
        if error is None and trial.infeasible is not None:
            state, error = "infeasible", trial.infeasible
        if state == "complete" and (lacking := [name for name in self._study.constraints if name not in known]):
            raise ValueError(f"{trial.key}: the study bounds {lacking[0]} (constraints); give it to report()")
        self._tracker.finish(trial.key, state=state, error=error, score=trial._scores.get(last), epochs=last)
        self._store.end(trial.key, state=state, error=error)
        del self._open[trial.key]

    def close(self) -> None:
        """Let go of the folder; see `Study.close`."""
        for trial in self._open.values():
            last = max(trial._scores, default=0)
            self._tracker.finish(trial.key, state="interrupted", score=trial._scores.get(last), epochs=last)
        self._store.write_seconds()
        self._stack.close()

    def _check(self, trial: OwnTrial) -> None:
        if self._open.get(trial.key) is not trial:
            raise ValueError(f"{trial.key} is not open: it was told already, or another study gave it")
