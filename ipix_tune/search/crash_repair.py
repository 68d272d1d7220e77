"""What a driver that died leaves half done in the record, done to its end. This takes what Optuna keeps private."""

import copy
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from ipix_tune.config.search_space import SearchSpace
from ipix_tune.search.recorded_trials import AGAIN, asked_trials
from ipix_tune.trainer.resources import Value


def finish_ask(study: optuna.Study, space: SearchSpace, *, saved: int | None) -> int:
    """The driver died after it had begun to write the latest trial, and before it saved the sampler: the sampler draws
    that trial once more, in a study as it was then, so that both are as if the driver had lived. Where the sampler's
    file is not the one from before that trial, the sampler gets a new seed instead, so that it does not give earlier
    trials again.

    Args:
        study: with at least one trial that was asked for.
        space: its search space.
        saved: the trial after which the sampler was saved; None: it never was.

    Returns:
        the latest trial's number.
    """
    *before, trial = asked_trials(study)
    given = dict(trial.system_attrs)
    if saved != (before[-1].number if before else None) or trial.state.is_finished():
        study.sampler.reseed_rng()
        given["fixed_params"] = {**given.get("fixed_params", {}), **trial.params}
    if not trial.state.is_finished():
        drawn, storage = _drawn_again(study, space, trial.number, given), study._storage
        for name in drawn.params.keys() - trial.params.keys():
            distribution = drawn.distributions[name]
            internal = distribution.to_internal_repr(drawn.params[name])
            storage.set_trial_param(trial._trial_id, name, internal, distribution)
        for name in drawn.system_attrs.keys() - trial.system_attrs.keys():
            storage.set_trial_system_attr(trial._trial_id, name, drawn.system_attrs[name])
    return trial.number


def reopened(study: optuna.Study, space: SearchSpace, number: int) -> tuple[optuna.Trial, dict[str, Value]]:
    """A trial that is taken up. Making Optuna's object for it draws from the sampler; the next trial must not see
    that."""
    sampler = copy.deepcopy(study.sampler)
    trial = optuna.Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)
    values = space.suggest(trial)
    study.sampler = sampler
    return trial, values


def _drawn_again(study: optuna.Study, space: SearchSpace, number: int, given: dict[str, Any]) -> FrozenTrial:
    """The trial, asked for in a copy of the study in which it is not there yet."""
    storage = optuna.storages.InMemoryStorage()
    storage._max_study_id = study._study_id - 1  # samplers refuse a study of another id
    then = optuna.create_study(storage=storage, directions=study.directions, sampler=study.sampler)
    waiting = optuna.trial.create_trial(state=TrialState.WAITING, system_attrs=given)
    for known in study.get_trials(deepcopy=False):
        if known.number <= number or AGAIN not in known.user_attrs:
            then.add_trial(waiting if known.number == number else known)
    space.suggest(then.ask())
    return then.get_trials(deepcopy=False)[number]
