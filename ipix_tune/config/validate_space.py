"""Everything about a study that only the training config can tell: checked before a trial or a GPU is asked for.

Configs are built at all choices, at both ends of every range and at seeded random corners of the space, so that
limits between two keys are found too.
"""

import random
from collections.abc import Iterator, Mapping
from typing import Any

from analysis.stats.best import SEED, SEEDS
from ipix_tune.config.dead_dimensions import check_dead_dimensions
from ipix_tune.config.device_grant import refused
from ipix_tune.config.dimension import contains, describe_range, end_values, same
from ipix_tune.config.search_space import SearchSpace, SpaceError
from ipix_tune.config.study_config import Dimension, StudyConfig, Value
from ipix_tune.config.train_keys import canonical, get_dotted, method_keys, refusal, train_leaves
from ipix_tune.config.validate_objective import check_objective
from trainers.common.errors import ConfigError, did_you_mean
from trainers.common.yaml_file import Lines, validate
from trainers.config import TrainConfig

CORNERS = 200

UNSEARCHABLE = {
    "schedule.epochs": "it is the fidelity that the scheduler works on",
    "evaluation": "it says how a trial is scored",
    "data.holdout": "it says what a trial is scored on",
    "data.name": "trials on different data cannot be compared",
    "data.root": "trials on different data cannot be compared",
    "data.val": "a search never reads the validation list",
    "data.labelled": "trials on different data cannot be compared",
    "data.unlabelled": "trials on different data cannot be compared",
    "data.train": "trials on different data cannot be compared",
    "data.draw": "trials on different data cannot be compared",
    "data.train_scenes": "trials on different data cannot be compared",
    "seeds": "the best of several seeds is luck, not a setting",
    "data.scene_seed": "trials on different data cannot be compared",
    "data.bare_ids": "trials on different data cannot be compared",
    "data.mask_dir": "trials on different data cannot be compared",
    "data.classes": "it names classes",
    "data.copies": "trials on different data cannot be compared",
    "data.list_encoding": "trials on different data cannot be compared",
    "data.loader_wait_s": "it says how long is waited, and no score depends on it",
    "data.num_classes": "trials on different data cannot be compared",
    "checkpoint": "it says what is kept on disk, and no score depends on it",
    "provenance": "it is written by the export",
}
"""Keys (and all below them) that a search must not vary, and why."""


def check_study(study: StudyConfig, *, source: str, lines: Lines) -> StudyConfig:
    """The study with every choice, condition and point in the leaves' own types.

    Raises:
        SpaceError: with the path of the key at fault; also of one that can change nothing in the whole space.
        ConfigError: the training config refuses the `trainer` section, or two values together.
    """
    for name in study.search:
        _check_name(name)
    _check_seeds(study)
    study = study.model_copy(
        update={
            "search": {name: _canonical_dimension(name, dimension) for name, dimension in study.search.items()},
            "points": [{name: canonical(name, value) for name, value in point.items()} for point in study.points],
        }
    )
    check_objective(study)
    for name, dimension in study.search.items():
        _check_dimension(study, name, dimension)
    space = SearchSpace(study)
    for name, dimension in study.search.items():
        _check_conditions(space, name, dimension)
    for values in _probes(space):
        _check_method_keys(space, values)
        data = _data_of_trial(space, values)
        config = validate(TrainConfig, data, source=source, lines=_lines_of_trial(space, values, lines))
        _check_trial(study, config)
    for number, point in enumerate(study.points):
        _check_point(space, number, point)
    if study.sampler.name == "grid":
        space.grid()
    check_dead_dimensions(space)
    return study


def _check_seeds(study: StudyConfig) -> None:
    """Seeds are dimensions of a grid that stops nothing, or none."""
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


def _check_name(name: str) -> None:
    known = train_leaves()
    for key, why in ({} if name in SEEDS else UNSEARCHABLE).items():
        if name == key or name.startswith(key + "."):
            raise SpaceError(f"{name} cannot be searched: {why}", path=("search", name))
    if name in known:
        return
    if below := [leaf for leaf in known if leaf.startswith(name + ".")]:
        raise SpaceError(
            f"{name} is a section of the training config; search one of its keys, such as {below[0]}",
            path=("search", name),
        )
    raise SpaceError(f"{name} is not a key of the training config{nearest_leaf(name)}", path=("search", name))


def nearest_leaf(name: str) -> str:
    """By the last part of the name where a section has one like it, all of them; or else by the whole dotted name."""
    known = train_leaves()
    last = name.rsplit(".", 1)[-1]
    same_end = [f'"{leaf}"' for leaf in known if leaf.rsplit(".", 1)[-1] == last]
    return f"; did you mean {' or '.join(same_end)}?" if same_end else did_you_mean(name, known)


def _canonical_dimension(name: str, dimension: Dimension) -> Dimension:
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


def _check_dimension(study: StudyConfig, name: str, dimension: Dimension) -> None:
    path = ("search", name)
    missing = object()
    if (fixed := get_dotted(study.trainer, name, missing)) is not missing:
        raise SpaceError(
            f"{name} is searched and also fixed (trainer.{name}: {fixed!r}); remove one of the two", path=path
        )
    for value in end_values(dimension):
        if why := refusal(name, value):
            raise SpaceError(
                f"{name}: {describe_range(dimension)}: the training config refuses {value!r}: {why}", path=path
            )
    if dimension.kind in ("uniform", "loguniform", "quniform") and (why := refusal(name, _between(dimension))):
        raise SpaceError(
            f"{name}: {describe_range(dimension)}: the training config refuses {_between(dimension)!r}: {why}; "
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
        if searched is None and get_dotted(space.trainer, key, missing) is missing:
            hint = did_you_mean(key, space.dimensions) or nearest_leaf(key)
            hint = "" if key in train_leaves() else hint
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


def _check_method_keys(space: SearchSpace, values: Mapping[str, Value]) -> None:
    known = method_keys()
    method = values.get("method.name", get_dotted(space.trainer, "method.name"))
    if method not in known:
        return
    for name in values:
        if not name.startswith("method.") or name.split(".")[1] in known[str(method)]:
            continue
        having = [one for one, keys in known.items() if name.split(".")[1] in keys]
        if "method.name" in values:
            having = [one for one in having if contains(space.dimensions["method.name"], one)]
            cure = f"add only_if: {{method.name: [{', '.join(having)}]}}" if having else "remove it"
        else:
            cure = f"it belongs to {', '.join(having)}; remove it"
        raise SpaceError(f"{name} is not a key of method {method}; {cure}", path=("search", name))


def _data_of_trial(space: SearchSpace, values: Mapping[str, Value]) -> dict[str, Any]:
    try:
        return space.to_data(values)
    except ConfigError as error:
        first = str(error).split(".", 1)[0]
        raise SpaceError(f"trainer: {error}", path=("trainer", first)) from None


def _lines_of_trial(space: SearchSpace, values: Mapping[str, Value], lines: Lines) -> Lines:
    """Where each key of a trial's config stands in the study file."""
    trial = {path[1:]: line for path, line in lines.items() if path[:1] == ("trainer",)}
    for name in values:
        if (line := lines.get(("search", name))) is not None:
            trial[tuple(name.split("."))] = line
    return trial


def _check_trial(study: StudyConfig, config: TrainConfig) -> None:
    if config.data.holdout is None:
        raise SpaceError(
            "trainer.data.holdout is missing: a study scores its trials on training images that are cut off for it, "
            "e.g. data.holdout: {images: 60, source: labelled}",
            path=("trainer", "data"),
        )
    selects_nothing = study.sampler.name == "grid" and study.scheduler.name == "none"
    if config.evaluation.final and not selects_nothing:
        raise SpaceError(
            "trainer.evaluation.final is true: a search must not see the validation list (data.val); remove it (the "
            "export sets it for the final training). It may stay with sampler.name: grid and scheduler.name: none, "
            "where every configuration runs in full and none is selected",
            path=("trainer", "evaluation", "final"),
        )
    workers = study.resources.workers
    if config.data.batch_size % workers:
        raise SpaceError(
            f"data.batch_size = {config.data.batch_size} is the total over {workers} workers and cannot be divided "
            "among them; change it or resources.workers",
            path=("resources", "workers"),
        )
    if why := refused(config.precision.device, study.resources):
        raise SpaceError(why, path=("trainer", "precision", "device"))
    scheduler, epochs, every = study.scheduler, config.schedule.epochs, config.evaluation.every
    if scheduler.name == "none":
        return
    if scheduler.grace_epochs > epochs:
        raise SpaceError(
            f"scheduler.grace_epochs = {scheduler.grace_epochs} is above trainer.schedule.epochs = {epochs}",
            path=("scheduler", "grace_epochs"),
        )
    if scheduler.grace_epochs % every:
        raise SpaceError(
            f"scheduler.grace_epochs = {scheduler.grace_epochs} is not a multiple of trainer.evaluation.every = "
            f"{every}, so that rungs would fall on epochs without a score",
            path=("scheduler", "grace_epochs"),
        )


def _check_point(space: SearchSpace, number: int, point: Mapping[str, Value]) -> None:
    try:
        values = space.check_point(point)
    except SpaceError as error:
        raise SpaceError(str(error), path=("points", number, *error.path)) from None
    space.to_config(values)
