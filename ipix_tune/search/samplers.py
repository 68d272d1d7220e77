"""Which sampler a study has."""

from collections.abc import Sequence
from functools import partial

import optuna
from optuna.samplers import BaseSampler

from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import SamplerConfig, StudyConfig
from ipix_tune.search.prior_sampler import MixedSampler
from ipix_tune.search.pruned_motpe import FrontSampler
from ipix_tune.search.rank_transform import RankedSampler
from ipix_tune.search.rungs import ladder
from ipix_tune.search.sampler_file import SamplerFile
from ipix_tune.search.sampler_state import JsonCmaEsSampler
from ipix_tune.search.surrogate_sampler import SurrogateSampler
from ipix_tune.search.unique_sampler import WholeSampler
from ipix_tune.search.warm_start import past_trials


def study_sampler(study: StudyConfig, space: SearchSpace, kept: SamplerFile, *, max_epochs: int) -> BaseSampler:
    """The sampler that the study file names: as an earlier driver of the study left it, else a new one, which has
    learned from the studies of `warm_start`.

    Args:
        study: the study file.
        space: its search space.
        kept: where an earlier driver left it.
        max_epochs: full length of a trial.

    Raises:
        FolderError: what was left cannot be read.
    """
    built = partial(
        build_sampler,
        study.sampler,
        space,
        levels=ladder(study, max_epochs=max_epochs),
        sign=study.objective.sign,
        two_objectives=study.objective.second_objective is not None,
    )
    restored = kept.restored(built)
    return built(past_trials(study, space)) if restored is None else restored


def build_sampler(
    config: SamplerConfig,
    space: SearchSpace,
    past: Sequence[optuna.trial.FrozenTrial] = (),
    *,
    levels: Sequence[int] = (1,),
    sign: int = 1,
    two_objectives: bool = False,
) -> BaseSampler:
    """The study's sampler. TPE is shown trials by their ranks where there is one objective, and takes turns with even
    draws and with the priors, and so does the surrogate; in a discrete space every sampler is wrapped, so that no
    configuration is asked twice while others remain. A grid is enqueued; nothing is left to sample.

    Args:
        config: the study's `sampler`.
        space: its search space.
        past: trials of earlier studies.
        levels: the epochs at which curves are compared (`rungs.ladder`).
        sign: 1 where more is better, else -1.
        two_objectives: whether there are two.
    """
    if config.name == "surrogate":
        tpe = RankedSampler(optuna_sampler(config.model_copy(update={"name": "tpe"})))
        model = SurrogateSampler(space, tpe, levels=levels, sign=sign, least=config.startup_trials, seed=config.seed)
        return MixedSampler(space, model, seed=config.seed)
    sampler = optuna_sampler(config, two_objectives=two_objectives)
    if config.name == "tpe" and not two_objectives:
        sampler = RankedSampler(sampler, past)
    if config.name == "tpe":
        return MixedSampler(space, sampler, seed=config.seed)
    if config.name != "grid" and space.is_discrete:
        return WholeSampler(space, sampler, seed=config.seed)
    return sampler


def optuna_sampler(config: SamplerConfig, *, two_objectives: bool = False) -> BaseSampler:
    """Optuna's own. TPE models all dimensions together, a group for every set of conditions that hold together, and
    counts pending trials as bad, so that trials that run side by side are not alike."""
    if config.name == "tpe":
        kind = FrontSampler if two_objectives else optuna.samplers.TPESampler
        return kind(
            seed=config.seed,
            n_startup_trials=config.startup_trials,
            multivariate=True,
            group=True,
            constant_liar=True,
        )
    if config.name == "gp":
        return optuna.samplers.GPSampler(seed=config.seed, n_startup_trials=config.startup_trials)
    if config.name == "cmaes":
        return JsonCmaEsSampler(seed=config.seed, n_startup_trials=max(1, config.startup_trials))
    return optuna.samplers.RandomSampler(seed=config.seed)
