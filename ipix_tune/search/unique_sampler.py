"""An Optuna sampler that proposes whole configurations, so that one that was asked before can be left out."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from ipix_tune.config.search_space import SearchSpace
from ipix_tune.search.study_view import at_this_moment
from ipix_tune.trainer.resources import Value

TRIES = 20
"""Proposals until one that is new; then an unseen configuration is drawn evenly."""
LISTED = 10_000
"""Configurations of a discrete space up to which the unseen ones are listed."""


class WholeSampler(BaseSampler):
    """Asks ``inner`` for all values of a trial at once. In a discrete space no configuration is proposed twice while
    unseen ones remain; in a space of more than `LISTED` configurations a repetition after `TRIES` proposals stands.

    Args:
        space: the study's search space.
        inner: where configurations come from.
        seed: of the draws among unseen configurations.
    """

    def __init__(self, space: SearchSpace, inner: BaseSampler, *, seed: int) -> None:
        self._space = space
        self._inner = inner
        self._rng = np.random.default_rng([seed, 1])
        self._distributions = space.fixed_distributions()
        self._plan: tuple[int, dict[str, Value]] = (-1, {})

    @property
    def inner(self) -> BaseSampler:
        """Where configurations come from."""
        return self._inner

    def propose(self, study: Study, trial: FrozenTrial) -> dict[str, Value]:
        """One configuration as ``inner`` would give it."""
        searched = self._inner.infer_relative_search_space(study, trial)
        together = self._inner.sample_relative(study, trial, searched)

        def value(name: str, _: object) -> Value:
            if name in together:
                return _plain(together[name])
            return self._alone(study, trial, name)

        return self._space.draw(value)

    def _alone(self, study: Study, trial: FrozenTrial, name: str) -> Value:
        distribution = self._distributions[name]
        return _plain(self._inner.sample_independent(study, trial, name, distribution))

    def _propose_unseen(self, study: Study, trial: FrozenTrial) -> dict[str, Value]:
        study = at_this_moment(study)
        values = self.propose(study, trial)
        if not self._space.is_discrete:
            return values
        others = (other for other in study.get_trials(deepcopy=False) if other.number != trial.number)
        seen = {_identity(other.params) for other in others if other.state != TrialState.WAITING}
        for _ in range(TRIES):
            if _identity(values) not in seen:
                return values
            values = self.propose(study, trial)
        listed = list(islice(self._space.configurations(), LISTED + 1))
        unseen = [one for one in listed if _identity(one) not in seen]
        if len(listed) > LISTED or not unseen:
            return values
        return unseen[self._rng.integers(len(unseen))]

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The trial's value of the configuration that was proposed for it as a whole. A trial that has some of its
        values already may need one that the proposal lacks; that one is asked for alone."""
        if self._plan[0] != trial.number:
            self._plan = (trial.number, self._propose_unseen(study, trial))
        values = self._plan[1]
        return values[param_name] if param_name in values else self._alone(study, trial, param_name)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._inner.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        self._inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._rng = np.random.default_rng()
        self._inner.reseed_rng()


def _plain(value: Any) -> Value:
    """Samplers may give NumPy's scalars, which compare and print unlike Python's."""
    plain: Value = value.item() if isinstance(value, np.generic) else value
    return plain


def _identity(values: Mapping[str, Value]) -> frozenset[tuple[str, str]]:
    """Equal for equal configurations, also where a step was reached by another sum of floats."""
    return frozenset(
        (name, f"{value:.10g}" if isinstance(value, float) else repr(value)) for name, value in values.items()
    )
