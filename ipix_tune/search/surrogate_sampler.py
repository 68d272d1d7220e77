"""Configurations from the surrogate of score over configuration and budget, by Thompson sampling, and some by TPE."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from ipix_tune.config.search_space import SearchSpace
from ipix_tune.search.curve_surrogate import CurveSurrogate
from ipix_tune.search.prior_sampler import even
from ipix_tune.search.recorded_trials import latest_of, latest_trials, record_of
from ipix_tune.search.study_view import at_this_moment, view
from ipix_tune.search.trial_record import TrialRecord

TPE_SHARE = 1 / 3
"""Of the configurations, those that TPE proposes: it learns from ranks and assumes no shape, so that a search goes on
where the surrogate's function cannot follow the scores."""


class SurrogateSampler(BaseSampler):
    """Draws a function from the surrogate's posterior and proposes its maximum (Thompson 1933); every third time asks
    TPE instead, by chance. Before there are enough trials, draws evenly. It learns from every rung that a trial has
    reached.

    Args:
        space: the search space.
        tpe: proposes what the surrogate does not; it is shown a trial that was frozen and went on once.
        levels: the rungs and the full length, in epochs, ascending.
        sign: 1 where more is better, else -1.
        least: trials with a score before it learns from them.
        seed: of the draws.
    """

    def __init__(
        self, space: SearchSpace, tpe: BaseSampler, *, levels: Sequence[int], sign: int, least: int, seed: int
    ) -> None:
        self._tpe = tpe
        self.surrogate = CurveSurrogate(space, levels=levels, sign=sign, least=least)
        self._space = space
        self._rng = np.random.default_rng([seed, 3])
        self._alone = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """All values of a configuration."""
        records = _records(study, but=trial.number)
        if not self.surrogate.fit(records):
            beliefs = even(self._space)
            return dict(self._space.draw(lambda name, _: beliefs[name].draw(self._rng)))
        if self._rng.random() < TPE_SHARE:
            shown = at_this_moment(view(study, latest_of))
            return self._tpe.sample_relative(shown, trial, self._tpe.infer_relative_search_space(shown, trial))
        posterior = self.surrogate.given(records)
        return dict(posterior.maximum(posterior.draw(self._rng), self._rng)[0])

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._alone.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        self._rng = np.random.default_rng()
        self._alone.reseed_rng()
        self._tpe.reseed_rng()


def _records(study: Study, *, but: int) -> list[TrialRecord]:
    """The trials that have begun, without the one of that number."""
    latest = latest_trials(study)
    return [record_of(one, "t") for one in latest if one.state != TrialState.WAITING and one.number != but]
