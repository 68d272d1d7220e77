"""A study as a sampler is shown it: the same study, except for what its trials are."""

from collections.abc import Callable, Container
from functools import cache
from typing import Any, cast

from optuna import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

Change = Callable[[list[FrozenTrial]], list[FrozenTrial]]


class _View:
    def __init__(self, study: Study, change: Change) -> None:
        self._whole = study
        self._change = change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        return self._get_trials(deepcopy, states)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        if isinstance(self._whole, _Moment):
            return _of(states, self._whole.changed(self._change))
        return _of(states, self._change(self._whole._get_trials(deepcopy, use_cache=use_cache)))


class _Moment(_View):
    def __init__(self, study: Study) -> None:
        trials = study.get_trials(deepcopy=False)
        super().__init__(study, lambda _: trials)
        self.changed = cache(lambda change: change(trials))


class _First(_View):
    @property
    def direction(self) -> StudyDirection:
        return self._whole.directions[0]


def _of(states: Container[TrialState] | None, trials: list[FrozenTrial]) -> list[FrozenTrial]:
    return trials if states is None else [trial for trial in trials if trial.state in states]


def view(study: Study, change: Change) -> Study:
    """``study`` with the trials that ``change`` makes of its own."""
    return cast(Study, _View(study, change))


def at_this_moment(study: Study) -> Study:
    """``study`` with the trials that it has now. What one view's change makes of them is computed once, for all that
    is asked before the study goes on: the trials are shared, and nothing may write to them."""
    return cast(Study, _Moment(study))


def by_first_objective(study: Study) -> Study:
    """``study``, with its first objective's direction as the one that Optuna refuses to name where there are two: it
    asks for one only to rank stopped trials by their scores, which are the first objective's."""
    return cast(Study, _First(study, lambda trials: trials))
