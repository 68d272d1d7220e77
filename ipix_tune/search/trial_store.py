"""The record of a study: an Optuna study in a journal file, from which everything about the search can be rebuilt.

Every ask, every epoch's score and every end goes into the file at once. A study that was interrupted is read back from
it: finished trials as history, trials that were running to be taken up again under the same key.
"""

import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import optuna
from optuna.trial import TrialState

from analysis.columns import State
from analysis.stats.best import Settings, settings_of
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.search.crash_repair import finish_ask, reopened
from ipix_tune.search.curve_surrogate import CurveSurrogate
from ipix_tune.search.open_study import open_study
from ipix_tune.search.open_trial import OpenTrial
from ipix_tune.search.recorded_trials import (
    asked_trials,
    begun_again,
    key_of,
    latest_trials,
    record_of,
    unended_values,
)
from ipix_tune.search.repeated_error import DATA
from ipix_tune.search.sampler_file import SAMPLER, SamplerFile
from ipix_tune.search.samplers import study_sampler
from ipix_tune.search.surrogate_sampler import SurrogateSampler
from ipix_tune.search.trial_record import TrialRecord
from ipix_tune.search.unique_sampler import WholeSampler
from ipix_tune.trainer.resources import Value

TRAINED = "trained_s"


class TrialStore:
    """Asks Optuna for configurations and writes down what became of them.

    Args:
        folder: the study's folder; None: nothing is written, and the record ends with the process.
        study: the study file.
        space: its search space.
        total: trials that the study may start in all; 0: it is only looked at.
        max_epochs: full length of a trial, for samplers that compare curves.
        clock: seconds, from any start.
        rounds: gives the configurations of the next round from all trials so far, or none when no more are wanted;
            asked when no trial is waiting or running. Then the sampler is not used.
        letter: what the keys begin with.
        sampler: where configurations come from, if not from the sampler that the study file names; its state is then
            not taken up from the folder.
        there: names of the folders of trials that are there already, all of which the record must know.
        data_state: what the data are now; noted with a trial that fails by them.

    Raises:
        IdentityError: it does not know one of them.
    """

    def __init__(
        self,
        folder: Path | None,
        study: StudyConfig,
        space: SearchSpace,
        *,
        total: int,
        max_epochs: int = 1,
        clock: Callable[[], float] = time.monotonic,
        rounds: Callable[[Sequence[TrialRecord]], Sequence[dict[str, Value]]] | None = None,
        letter: str = "t",
        sampler: optuna.samplers.BaseSampler | None = None,
        there: Collection[str] = (),
        data_state: Callable[[], str] | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self._space = space
        self._total = total
        self.thaw: Callable[[bool], str | None] | None = None
        """Set by a scheduler that has stopped trials go on: gives the key of one, or None where a new one is worth
        more; it is told whether a new one may begin."""
        self._sampler_file = SamplerFile(folder / SAMPLER if folder is not None and total else None)
        self._rounds = rounds
        self._letter = letter
        self._grid = study.sampler.name == "grid" and rounds is None
        second = study.objective.second_objective
        self._bounds = study.bounds
        self.second_metric = None if second is None else second.metric
        """The metric of the second objective."""
        if sampler is None:
            sampler = study_sampler(study, space, self._sampler_file, max_epochs=max_epochs)
        points = [space.check_point(one) for one in (*study.points, *(space.grid_points() if self._grid else []))]
        self._study = open_study(folder, study, sampler, points=points, letter=letter, there=there)
        known = latest_trials(self._study)
        asked = asked_trials(self._study)
        unsaved = bool(asked) and self._sampler_file.after != asked[-1].number
        self._half_asked = rounds is None and total > 0 and unsaved
        self._again = [trial.number for trial in known if trial.state == TrialState.RUNNING]
        self._asked = sum(trial.state != TrialState.WAITING for trial in known)
        self._open: dict[str, OpenTrial] = {}
        over = [trial for trial in known if trial.state.is_finished()]
        self._ended = [
            record_of(trial, self._letter)
            for trial in sorted(over, key=lambda trial: (trial.datetime_complete, trial.number))
        ]
        self._before = float(self._study.user_attrs.get("seconds", 0))
        self._clock = clock
        self._began = clock()
        self.epochs = sum(len(trial.intermediate_values) for trial in known)
        """Epochs that all trials reported."""
        self.trained_s = float(self._study.user_attrs.get(TRAINED, 0))
        """Seconds that they took, each trial's counted."""
        self._data_state = data_state

    @property
    def seconds(self) -> float:
        """Wall time that the study has run, over all its drivers."""
        return self._before + self._clock() - self._began

    def write_seconds(self) -> None:
        """Note how long the study has run, for the driver that takes it up."""
        self._study.set_user_attr("seconds", self.seconds)
        self._study.set_user_attr(TRAINED, self.trained_s)

    @property
    def started(self) -> int:
        """Trials that were ever handed out."""
        return self._asked

    @property
    def remaining(self) -> int:
        """Trials still to be handed out (with `rounds`: at most), those to be taken up again included."""
        fresh = self._total - self._asked
        if self._grid or (self._rounds is not None and not self.waits and not self._again and not self._begin_round()):
            fresh = min(fresh, self._waiting)
        return len(self._again) + max(fresh, 0)

    @property
    def goes_on(self) -> bool:
        """Whether there is a trial to be handed out now: a new one, or one that goes on."""
        return self.remaining > 0 or self._thawed(begin=False) is not None

    @property
    def waits(self) -> bool:
        """Whether trials run, one of which may be handed out again, or decide if there will be others."""
        return bool(self._open)

    @property
    def _waiting(self) -> int:
        return len(self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def _begin_round(self) -> bool:
        """Whether configurations of a round wait to be handed out; a new one is begun where the last has ended."""
        if self._rounds is not None and not self._waiting and not self._open:
            for values in self._rounds(self.entries()):
                self._study.enqueue_trial(values, skip_if_exists=True)
        return self._waiting > 0

    def next(self, *, begin: bool = True) -> tuple[str, dict[str, Value]] | None:
        """Key and values of the next trial, those that were running when the study stopped first; None when the
        study has started all its trials, or (`waits`) running ones have to end first.

        Args:
            begin: also one that has not begun yet.
        """
        if self._half_asked:
            self._half_asked = False
            self._save_sampler(finish_ask(self._study, self._space, saved=self._sampler_file.after))
        if self._again:
            trial, values = reopened(self._study, self._space, self._again.pop(0))
        elif self._rounds is not None and not self._begin_round():
            return None
        elif (key := self._thawed(begin=begin and self.remaining > 0)) is not None:
            self._offer(next(one for one in latest_trials(self._study) if key_of(one, self._letter) == key))
            trial, values = reopened(self._study, self._space, self._again.pop())
        elif begin and self.remaining > 0:
            trial = self._study.ask()
            values = self._space.suggest(trial)
            self._asked += 1
            self._save_sampler(trial.number)
        else:
            return None
        given = OpenTrial(self._study, trial, second_metric=self.second_metric, bounds=self._bounds)
        key = key_of(given.frozen, self._letter)
        self._open[key] = given
        return key, values

    def _thawed(self, *, begin: bool) -> str | None:
        return None if self.thaw is None else self.thaw(begin)

    def fitted_surrogate(self, records: Sequence[TrialRecord]) -> CurveSurrogate:
        """What the sampler `surrogate` learns from these trials. The sampler's file has it, so that whoever takes the
        study up knows as much."""
        sampler = self._study.sampler
        assert isinstance(sampler, WholeSampler)
        assert isinstance(sampler.inner, SurrogateSampler)
        surrogate = sampler.inner.surrogate
        before = surrogate.theta
        surrogate.fit(records)
        if surrogate.theta is not before:
            self._save_sampler(asked_trials(self._study)[-1].number)
        return surrogate

    def offer_again(self, wanted: Callable[[TrialRecord], bool]) -> list[str]:
        """Offer trials that failed once more, before any new one, each under its own key and so from its own last
        checkpoint; the budget counts it once. Returns their keys.

        Args:
            wanted: asked of every trial that failed.
        """
        keys = []
        for trial in latest_trials(self._study):
            entry = record_of(trial, self._letter)
            if trial.state != TrialState.FAIL or not wanted(entry):
                continue
            self._offer(trial)
            keys.append(entry.key)
        return keys

    def _offer(self, trial: optuna.trial.FrozenTrial) -> None:
        """A further trial of Optuna's under the key of this one, which has ended."""
        self._study.add_trial(begun_again(trial))
        self._again.append(self._study.get_trials(deepcopy=False)[-1].number)
        key = key_of(trial, self._letter)
        self._ended = [one for one in self._ended if one.key != key]

    def take_back(self, key: str) -> None:
        """Hand the trial out again, before any new one: it was lost before it began."""
        if (trial := self._open.pop(key, None)) is not None:
            self._again.append(trial.number)

    def _save_sampler(self, number: int) -> None:
        if self._rounds is None:
            self._sampler_file.save(number, self._study.sampler)

    def stop(self, key: str, *, epoch: int) -> None:
        """Note, before its score is recorded, that the scheduler stops the trial at this epoch."""
        if (trial := self._open.get(key)) is not None:
            trial.note_stop(epoch)

    def report(
        self, key: str, *, epoch: int, score: float, seconds: float = 0, second_score: float | None = None
    ) -> None:
        """One epoch's score, how long it took and its value of the second objective; an epoch that is known already is
        left as it is, and so is a score that is no number."""
        trial = self._open.get(key)
        if trial is not None and trial.report(epoch=epoch, score=score, second_score=second_score):
            self.epochs += 1
            self.trained_s += seconds

    def measure(self, key: str, metrics: Mapping[str, float], *, last: bool) -> None:
        """Note what an epoch's metrics say of the study's constraints. ``last``: it is the last one of the full
        length."""
        if (trial := self._open.get(key)) is not None:
            trial.measure(metrics, last=last)

    def end(self, key: str, *, state: State, error: str | None = None, cause: str | None = None) -> None:
        """How a trial ended; ``cause`` says what kind of error it was."""
        trial = self._open.pop(key, None)
        if trial is None:
            return
        data_state = self._data_state() if cause == DATA and self._data_state is not None else None
        trial.end(state=state, error=error, cause=cause, data_state=data_state)
        self._ended.append(record_of(trial.frozen, self._letter))
        self.write_seconds()

    def retried(self, key: str) -> int:
        """Count one retry; returns how many there were."""
        trial = self._open.get(key)
        return 0 if trial is None else trial.note_retry()

    def entries(self) -> list[TrialRecord]:
        """All trials that were ever started, in the order of their keys."""
        return [
            record_of(trial, self._letter) for trial in latest_trials(self._study) if trial.state != TrialState.WAITING
        ]

    def unsettled(self) -> set[Settings]:
        """Configurations without their seed of which a run is running or waits to be handed out."""
        return {settings_of(one) for one in unended_values(self._study)}

    def ended(self) -> Sequence[TrialRecord]:
        """Trials that ended, in that order."""
        return self._ended

    def entry(self, key: str) -> TrialRecord:
        """The trial that was handed out under this key."""
        return record_of(self._open[key].frozen, self._letter)
