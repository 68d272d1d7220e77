"""The study's sampler: which one it is, and the file that keeps it as it was after its last draw."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import optuna

from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import SamplerConfig
from ipix_tune.search.prior_sampler import MixedSampler
from ipix_tune.search.pruned_motpe import FrontSampler
from ipix_tune.search.rank_transform import RankedSampler
from ipix_tune.search.sampler_state import JsonCmaEsSampler, set_state, state_of
from ipix_tune.search.surrogate_sampler import SurrogateSampler
from ipix_tune.search.unique_sampler import WholeSampler
from ipix_tune.storage.atomic import FolderError, replace_bytes
from ipix_tune.storage.journal_file import WAIT_S
from trainers.common.retry import patiently

SAMPLER, BEFORE = "sampler.json", "sampler.pkl"
"""The file, and what versions before 0.2 wrote."""
VERSION = 2
"""Version of the sampler's file; raised whenever an earlier state would not continue as it began."""


def build_sampler(
    config: SamplerConfig,
    space: SearchSpace,
    past: Sequence[optuna.trial.FrozenTrial] = (),
    *,
    levels: Sequence[int] = (1,),
    sign: int = 1,
    two_objectives: bool = False,
) -> optuna.samplers.BaseSampler:
    """The study's sampler. TPE is shown trials by their places where there is one objective, and takes turns with even
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
        model = SurrogateSampler(space, levels=levels, sign=sign, least=config.startup_trials, seed=config.seed)
        return MixedSampler(space, model, seed=config.seed)
    sampler = optuna_sampler(config, two_objectives=two_objectives)
    if config.name == "tpe" and not two_objectives:
        sampler = RankedSampler(sampler, past)
    if config.name == "tpe":
        return MixedSampler(space, sampler, seed=config.seed)
    if config.name != "grid" and space.is_discrete:
        return WholeSampler(space, sampler, seed=config.seed)
    return sampler


def optuna_sampler(config: SamplerConfig, *, two_objectives: bool = False) -> optuna.samplers.BaseSampler:
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


def save_sampler(file: Path, number: int, sampler: optuna.samplers.BaseSampler) -> None:
    """Keep the sampler with its random state, as it is after it gave trial ``number`` its configuration."""
    state = json.dumps({"version": VERSION, "trial": number, "sampler": state_of(sampler)}).encode()
    patiently(lambda: replace_bytes(file, state), path=file, wait_s=WAIT_S)


def restored_sampler(
    file: Path, build: Callable[[], optuna.samplers.BaseSampler]
) -> tuple[int, optuna.samplers.BaseSampler] | None:
    """What :func:`save_sampler` was given; None where there is no file.

    Args:
        file: its file.
        build: makes a new one, as the study file says.

    Raises:
        FolderError: it is torn, or of another version.
    """
    begin_anew = "begin a new one under another --name (with TPE, warm_start learns from this one)"
    go_on = "and the search goes on with new random numbers and repeats no trial"
    if not file.exists():
        if (before := file.with_name(BEFORE)).exists():
            raise FolderError(
                f"{before}: an earlier version of ipix-tune wrote it as code, which this one does not run. Remove it, "
                f"{go_on}; or {begin_anew}"
            )
        return None
    try:
        found = json.loads(file.read_bytes())
    except ValueError:
        raise FolderError(f"{file}: torn, or not a sampler; remove it, {go_on}") from None
    try:
        number, sampler = int(found["trial"]), build()
        if found["version"] != VERSION:
            raise ValueError
        set_state(sampler, found["sampler"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise FolderError(
            f"{file}: another version of ipix-tune or of Optuna wrote it, so this search cannot go on as it began; "
            f"{begin_anew}"
        ) from None
    return number, sampler
