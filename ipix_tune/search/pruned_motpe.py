"""TPE for two objectives under early stopping."""

from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial

from ipix_tune.search.study_view import by_first_objective


class FrontSampler(TPESampler):
    """Optuna's TPE, which ranks complete trials by non-domination (Ozaki et al., 2022) and has no rank for stopped ones
    where there are two objectives: here they rank below all complete ones, by their last epoch and then by its score
    of the first objective, as with one objective."""

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return super().sample_relative(by_first_objective(study), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return super().sample_independent(by_first_objective(study), trial, param_name, param_distribution)
