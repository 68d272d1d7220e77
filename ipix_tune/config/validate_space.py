"""Everything about a study that only its trainer can tell: checked before a trial or a GPU is asked for.

Configs are built at all choices, at both ends of every range and at seeded random corners of the space, so that
limits between two keys are found too.
"""

import random
from collections.abc import Iterator, Mapping
from typing import Any

from analysis.stats.best import SEED, SEEDS
from ipix_tune.config.dead_dimensions import check_dead_dimensions
from ipix_tune.config.dimension import contains, describe_range, end_values, same
from ipix_tune.config.dimension_config import Dimension
from ipix_tune.config.objective_config import ObjectiveConfig
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.config.validate_objective import check_objective
from ipix_tune.config.validate_scheduler import check_scheduler
from ipix_tune.trainer.choose import trainer_of
from ipix_tune.trainer.interface import Config, SpaceError, Trainer
from ipix_tune.trainer.resources import Value
from trainers.common.config_faults import Lines
from trainers.common.errors import ConfigError, did_you_mean

CORNERS = 200


def check_study(study: StudyConfig, *, source: str, lines: Lines) -> StudyConfig:
    """The study with every choice, condition and point in the leaves' own types.

    Raises:
        SpaceError: with the path of the key at fault; also of one that can change nothing in the whole space.
        ConfigError: the trainer refuses its section, or two values together.
    """
    trainer = trainer_of(study.trainer)
    trainer.check_section(study.trainer, source=source, lines=_below_trainer(lines))
    for name in study.search:
        _check_name(trainer, name)
    _check_seeds(study, trainer)
    study = study.model_copy(
        update={
            "search": {name: _canonical_dimension(trainer, name, one) for name, one in study.search.items()},
            "points": [
                {name: trainer.canonical(name, value) for name, value in point.items()} for point in study.points
            ],
            "objective": _objective(study, trainer),
        }
    )
    check_objective(study, trainer)
    check_scheduler(study)
    space = SearchSpace(study)
    for name, dimension in study.search.items():
        _check_dimension(space, name, dimension)
    for name, dimension in study.search.items():
        _check_conditions(space, name, dimension)
    for values in _probes(space):
        if (fault := trainer.values_fault(space.section, values, space.choices)) is not None:
            raise SpaceError(fault[1], path=("search", fault[0]))
        data = _data_of_trial(space, values)
        config = trainer.validated(data, source=source, lines=_lines_of_trial(space, values, lines))
        _check_trial(study, trainer, config)
    if study.sampler.name == "grid":
        space.grid()
    check_dead_dimensions(space)
    return study


def _objective(study: StudyConfig, trainer: Trainer) -> ObjectiveConfig:
    """The objective, by the score that the trainer's section names where the study's own says nothing."""
    score, asked = trainer.score(study.trainer), _with_units(study.objective, trainer)
    if score is None or score == asked.metric:
        return asked
    if "metric" in asked.model_fields_set:
        raise SpaceError(
            f"objective.metric = {asked.metric} and trainer.score = {score} name two scores; leave one out",
            path=("objective", "metric"),
        )
    return asked.model_copy(update={"metric": score})


def _with_units(asked: ObjectiveConfig, trainer: Trainer) -> ObjectiveConfig:
    """Names of another trainer's metrics tell no unit: what is not stated is none."""
    if not trainer.free_keys:
        return asked
    if asked.unit is None:
        asked = asked.model_copy(update={"unit": ""})
    if asked.second_objective is not None and asked.second_objective.unit is None:
        asked = asked.model_copy(update={"second_objective": asked.second_objective.model_copy(update={"unit": ""})})
    return asked


def _below_trainer(lines: Lines) -> Lines:
    return {path[1:]: line for path, line in lines.items() if path[:1] == ("trainer",)}


def _check_seeds(study: StudyConfig, trainer: Trainer) -> None:
    """Seeds are dimensions of a grid that stops nothing, or none."""
    if SEED in study.search and (unseeded := trainer.seeds()) is not None:
        raise SpaceError(f"{SEED} is searched: {unseeded}", path=("search", SEED))
    for name in SEEDS:
        if name in study.search and study.sampler.name != "grid":
            raise SpaceError(
                f"{name} cannot be searched: the best of several seeds is luck, not a setting. To run every "
                "configuration with every seed, use sampler.name: grid",
                path=("search", name),
            )
        if name in study.search and study.scheduler.name != "none":
            raise SpaceError(
                f"{name} is searched, and scheduler.name = {study.scheduler.name} stops the seeds of a configuration "
                "one by one, so that the mean over those that are left is luck; set scheduler.name: none",
                path=("scheduler", "name"),
            )
    if {SEED, "seeds.init", "seeds.order"} <= study.search.keys():
        raise SpaceError(
            "seed is searched beside seeds.init and seeds.order, which leave nothing for it to draw; remove it",
            path=("search", SEED),
        )


def _check_name(trainer: Trainer, name: str) -> None:
    why = None if name in SEEDS else trainer.unsearchable(name)
    if why is not None:
        raise SpaceError(f"{name} cannot be searched: {why}", path=("search", name))
    if fault := trainer.key_fault(name):
        raise SpaceError(fault, path=("search", name))


def _canonical_dimension(trainer: Trainer, name: str, dimension: Dimension) -> Dimension:
    canonical = trainer.canonical
    update: dict[str, Any] = {}
    if dimension.choice is not None:
        choice = tuple(canonical(name, value) for value in dimension.choice)
        for i, value in enumerate(choice):
            if any(same(value, other) for other in choice[:i]):
                raise SpaceError(f"{name}: choice lists {value!r} twice", path=("search", name, "choice"))
        update["choice"] = choice
    if dimension.only_if is not None:
        update["only_if"] = {
            key: [canonical(key, one) for one in value] if isinstance(value, list) else canonical(key, value)
            for key, value in dimension.only_if.items()
        }
    if dimension.prior is not None:
        update["prior"] = dimension.prior.model_copy(update={"center": canonical(name, dimension.prior.center)})
    return dimension.model_copy(update=update)


def _check_dimension(space: SearchSpace, name: str, dimension: Dimension) -> None:
    path, trainer, missing = ("search", name), space.trainer, object()
    if not trainer.free_keys and (fixed := space.given(name, missing)) is not missing:
        raise SpaceError(
            f"{name} is searched and also fixed (trainer.{name}: {fixed!r}); remove one of the two", path=path
        )
    for value in end_values(dimension):
        if why := trainer.refusal(name, value):
            raise SpaceError(
                f"{name}: {describe_range(dimension)}: the {trainer.kind} refuses {value!r}: {why}", path=path
            )
    if dimension.kind in ("uniform", "loguniform", "quniform") and (why := trainer.refusal(name, _between(dimension))):
        raise SpaceError(
            f"{name}: {describe_range(dimension)}: the {trainer.kind} refuses {_between(dimension)!r}: {why}; "
            "int and logint give whole numbers",
            path=path,
        )
    if dimension.prior is not None and not contains(dimension, dimension.prior.center):
        center = dimension.prior.center
        hint = did_you_mean(str(center), map(str, dimension.choice or ()))
        raise SpaceError(
            f"{name}: prior.center = {center!r} is outside {describe_range(dimension)}{hint}",
            path=(*path, "prior", "center"),
        )


def _between(dimension: Dimension) -> float:
    low, high = (float(value) for value in end_values(dimension) if isinstance(value, int | float))
    return low + (dimension.quniform[2] if dimension.quniform is not None else 0.382 * (high - low))


def _check_conditions(space: SearchSpace, name: str, dimension: Dimension) -> None:
    missing = object()
    for key, wanted in (dimension.only_if or {}).items():
        path = ("search", name, "only_if", key)
        searched = space.dimensions.get(key)
        if searched is None and space.given(key, missing) is missing:
            known = space.trainer.keys()
            hint = "" if key in known else did_you_mean(key, (*space.dimensions, *known))
            raise SpaceError(
                f"{name}: only_if names {key}, which is neither searched nor given in trainer{hint}"
                f"{'; add it to one of them' if not hint else ''}",
                path=path,
            )
        if searched is not None and searched.kind in ("uniform", "loguniform"):
            raise SpaceError(f"{name}: only_if needs single values, and {key} is {describe_range(searched)}", path=path)
        values = wanted if isinstance(wanted, list) else [wanted]
        if searched is None:
            fixed = space.fixed(key)
            if not any(same(fixed, value) for value in values):
                raise SpaceError(
                    f"{name} is never active: it is searched only if {key} is {wanted!r}, and trainer.{key} is "
                    f"{fixed!r}; remove the dimension or change the condition",
                    path=path,
                )
            continue
        for value in values:
            if not contains(searched, value):
                hint = did_you_mean(str(value), map(str, searched.choice or ()))
                raise SpaceError(f"{name}: {key} is never {value!r}: {describe_range(searched)}{hint}", path=path)
    if _values_with(space, name) is None:
        raise SpaceError(f"{name} is never active: its conditions exclude each other", path=("search", name, "only_if"))


def _values_with(space: SearchSpace, name: str) -> dict[str, Value] | None:
    """Some values under which ``name`` is active (first choices otherwise), or None."""
    first = {key: end_values(dimension)[0] for key, dimension in space.dimensions.items()}
    wanted: dict[str, list[Value]] = {}
    todo = [name]
    while todo:
        for key, value in (space.dimensions[todo.pop()].only_if or {}).items():
            allowed = list(value) if isinstance(value, list) else [value]
            if key in space.dimensions:
                wanted[key] = [one for one in wanted.get(key, allowed) if any(same(one, other) for other in allowed)]
                if not wanted[key]:
                    return None
                todo.append(key)
    first |= {key: allowed[0] for key, allowed in wanted.items()}
    active = space.active(first)
    return {key: first[key] for key in active} if name in active else None


def _probes(space: SearchSpace) -> Iterator[dict[str, Value]]:
    for name, dimension in space.dimensions.items():
        for value in end_values(dimension):
            values = {**(_values_with(space, name) or {}), name: value}
            active = space.active(values)
            if set(active) <= set(values):
                yield {key: values[key] for key in active}
    rng = random.Random(0)
    for _ in range(CORNERS if space.dimensions else 1):
        yield space.sample(rng, corners=True)


def _data_of_trial(space: SearchSpace, values: Mapping[str, Value]) -> dict[str, Any]:
    try:
        data: dict[str, Any] = space.to_data(values)
    except ConfigError as error:
        first = str(error).split(".", 1)[0]
        raise SpaceError(f"trainer: {error}", path=("trainer", first)) from None
    return data


def _lines_of_trial(space: SearchSpace, values: Mapping[str, Value], lines: Lines) -> Lines:
    """Where each key of a trial's config stands in the study file."""
    trial = dict(_below_trainer(lines))
    for name in values:
        if (line := lines.get(("search", name))) is not None:
            trial[space.trainer.path_of(name)] = line
    return trial


def _check_trial(study: StudyConfig, trainer: Trainer, config: Config) -> None:
    selects = study.sampler.name != "grid" or study.scheduler.name != "none"
    trainer.check_trial(config, resources=study.resources, selects=selects)
    scheduler, epochs, every = study.scheduler, trainer.max_epochs(config), trainer.evaluated_every(config)
    if scheduler.name == "none":
        return
    if scheduler.grace_epochs > epochs:
        raise SpaceError(
            f"scheduler.grace_epochs = {scheduler.grace_epochs} is above the full length of a trial, {epochs} epochs "
            f"({trainer.length_key})",
            path=("scheduler", "grace_epochs"),
        )
    if scheduler.grace_epochs % every:
        raise SpaceError(
            f"scheduler.grace_epochs = {scheduler.grace_epochs} is not a multiple of trainer.evaluation.every = "
            f"{every}, so that rungs would fall on epochs without a score",
            path=("scheduler", "grace_epochs"),
        )
    most, rung = 1, scheduler.grace_epochs
    while rung < epochs:
        most, rung = most + 1, rung * scheduler.reduction
    if scheduler.brackets > most:
        raise SpaceError(
            f"scheduler.brackets = {scheduler.brackets}: with {most - 1} rungs before the last of {epochs} epochs "
            f"there are {most} brackets at most, the last of which runs in full",
            path=("scheduler", "brackets"),
        )
