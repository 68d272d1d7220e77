"""The `confirm` section of a study against the trainer and the search space, before anything starts."""

import random
from collections.abc import Mapping
from typing import Any

from analysis.stats.best import SEEDS
from ipix_tune.config.confirm_config import ConfirmConfig
from ipix_tune.config.confirm_section import defaults_of
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.trainer.interface import SpaceError, Trainer
from ipix_tune.trainer.resources import Value
from trainers.common.errors import ConfigError, did_you_mean

PROBES = 20
NOT_LOGGED = "logging.mode is disabled: verdicts are computed from what W&B logged; use offline"


def check_confirm(study: StudyConfig) -> StudyConfig:
    """The study with the values of its `confirm` section in the leaves' own types.

    Raises:
        SpaceError: with the path of the key at fault.
    """
    confirm = study.confirm
    if confirm is None:
        return study
    space = SearchSpace(study)
    study = study.model_copy(update={"confirm": _canonical(confirm, space.trainer)})
    confirm = study.confirm
    assert confirm is not None
    if study.logging.mode == "disabled" and confirm.after_search:
        raise SpaceError(f"confirm.after_search is true and {NOT_LOGGED}", path=("logging", "mode"))
    if (unseeded := space.trainer.seeds()) is not None:
        raise SpaceError(f"confirm: {unseeded}", path=("confirm",))
    if confirm.defaults is True and not study.points:
        raise SpaceError(
            "confirm.defaults is true, which is the study's first point, and it has no points: add one, give a mapping "
            "of training config keys (--set 'confirm.defaults={optim.lr: 0.001}'), or run without defaults (--set "
            "confirm.defaults=false)",
            path=("confirm", "defaults"),
        )
    further = (confirm.ablate, confirm.contrast, confirm.variants)
    if confirm.defaults is False and confirm.top == 1 and not any(further):
        raise SpaceError(
            "confirm: top is 1 and there are no defaults, no ablate, no contrast and no variants: nothing is compared",
            path=("confirm",),
        )
    for number, (name, step) in enumerate(zip(confirm.step_names, confirm.steps, strict=True)):
        below = (name,) if name is not None else (number,) if isinstance(confirm.ablate, list) else ()
        _check_values(space, step, path=("confirm", "ablate", *below))
    if isinstance(confirm.defaults, dict):
        _check_values(space, confirm.defaults, path=("confirm", "defaults"))
    for name, keys in confirm.variants.items():
        _check_values(space, keys, path=("confirm", "variants", name))
    _check_contrast(confirm, space)
    _check_configs(study, confirm, space)
    return study


def _canonical(confirm: ConfirmConfig, trainer: Trainer) -> ConfirmConfig:
    canonical = trainer.canonical
    steps = [{name: canonical(name, value) for name, value in step.items()} for step in confirm.steps]
    ablate: Any = steps
    if (named := confirm.named_steps) is not None:
        ablate = dict(zip(named, steps, strict=True))
    elif not isinstance(confirm.ablate, list):
        ablate = dict(*steps)
    update: dict[str, Any] = {"ablate": ablate}
    if isinstance(confirm.defaults, dict):
        update["defaults"] = {name: canonical(name, value) for name, value in confirm.defaults.items()}
    update["variants"] = {
        name: {key: canonical(key, value) for key, value in keys.items()} for name, keys in confirm.variants.items()
    }
    return confirm.model_copy(update=update)


def _check_values(space: SearchSpace, values: Mapping[str, Value], *, path: tuple[str | int, ...]) -> None:
    trainer, searched = space.trainer, space.dimensions
    for name, value in values.items():
        at = (*path, name)
        where = ".".join(map(str, path))
        why = "the confirmation gives every run its seed" if name == "seed" else trainer.unsearchable(name)
        if why is not None:
            raise SpaceError(f"{where}: {name} cannot be set: {why}", path=at)
        known = {*trainer.keys(), *searched}
        if trainer.free_keys and name not in known:
            hint = did_you_mean(name, known)
            raise SpaceError(f"{where}: {name} is neither in trainer.config nor searched{hint}", path=at)
        if fault := trainer.key_fault(name):
            raise SpaceError(f"{where}: {fault}", path=at)
        if reason := trainer.refusal(name, value):
            raise SpaceError(f"{where}: the {trainer.kind} refuses {name} = {value!r}: {reason}", path=at)


def _check_contrast(confirm: ConfirmConfig, space: SearchSpace) -> None:
    for number, name in enumerate(confirm.contrast):
        path = ("confirm", "contrast", number)
        if name not in space.dimensions:
            hint = did_you_mean(name, space.dimensions)
            raise SpaceError(f"confirm.contrast: {name} is not searched{hint}", path=path)
        if space.dimensions[name].choice is None or name in SEEDS:
            raise SpaceError(f"confirm.contrast: {name} is no choice: it has no other values to run", path=path)


def _check_configs(study: StudyConfig, confirm: ConfirmConfig, space: SearchSpace) -> None:
    """Defaults, and the ablation of whatever the search may find."""
    rng = random.Random(0)
    probes: list[Mapping[str, Value]] = [space.sample(rng, corners=True) for _ in range(PROBES)]
    try:
        if (given := defaults_of(study)) is not None:
            probes.insert(0, given)
            space.to_config(given)
    except ConfigError as error:
        raise SpaceError(f"confirm.defaults: {error}", path=("confirm", "defaults")) from None
    for name, keys in confirm.variants.items():
        try:
            for values in probes if given is None else [given]:
                space.trainer.changed(space.to_config(values), keys)
        except ConfigError as error:
            raise SpaceError(f"confirm.variants.{name}: {error}", path=("confirm", "variants", name)) from None
    for values in probes:
        try:
            for changes in confirm.ladder:
                space.trainer.changed(space.to_config(values), changes)
        except ConfigError as error:
            raise SpaceError(f"confirm.ablate: {error}", path=("confirm", "ablate")) from None
