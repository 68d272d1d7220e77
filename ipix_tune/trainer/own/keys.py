"""The keys of the training config by dotted name, as a study asks for them."""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

from ipix_tune.trainer.interface import NO_DEFAULT, Config, Section
from ipix_tune.trainer.own.own_config import own_config
from trainers.common.config_keys import leaves, sections_in
from trainers.common.errors import did_you_mean
from trainers.common.key_list import Key, keys_in
from trainers.config import TrainConfig
from trainers.dead_keys import conditions, dead_keys, normal_form, refused_keys, why_dead

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
    "data.bands": "trials on different data cannot be compared",
    "data.shown_bands": "it says how pictures look, and no score depends on it",
    "logging": "it says where metrics go, and no score depends on it",
    "checkpoint": "it says what is kept on disk, and no score depends on it",
    "provenance": "it is written by the export",
}
"""Keys (and all below them) that a search must not vary, and why."""
NO_PART = {"seed", "provenance", "logging"}
"""Keys that make no other arm."""


@cache
def train_leaves() -> Mapping[str, Any]:
    """Annotation of every leaf of the training config, through all methods and data layouts."""
    return leaves(TrainConfig)


def own_schema() -> dict[str, Any]:
    """The JSON schema of a training config."""
    return TrainConfig.model_json_schema()


@cache
def method_keys() -> Mapping[str, frozenset[str]]:
    """Keys of each method's section, by the method's name."""
    variants = get_args(TrainConfig.model_fields["method"].annotation)
    return {get_args(one.model_fields["name"].annotation)[0]: frozenset(one.model_fields) for one in variants}


@cache
def _adapter(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(train_leaves()[name])


def _nearest(name: str) -> str:
    """By the last part of the name where a section has one like it, all of them; or else by the whole dotted name."""
    known = train_leaves()
    last = name.rsplit(".", 1)[-1]
    same_end = [f'"{leaf}"' for leaf in known if leaf.rsplit(".", 1)[-1] == last]
    return f"; did you mean {' or '.join(same_end)}?" if same_end else did_you_mean(name, known)


def own_key_list() -> list[Key]:
    """Every key with its type, range, default and meaning."""
    return keys_in(TrainConfig)


def _says(section: type[BaseModel], kind: str) -> bool:
    field = section.model_fields.get("name")
    return field is not None and kind in get_args(field.annotation)


class OwnKeys:
    """See :class:`ipix_tune.trainer.interface_keys.Keys`."""

    free_keys = False
    granted_keys: tuple[str, ...] = ("precision.device", "data.loader_workers")

    def keys(self) -> Collection[str]:
        return train_leaves()

    def path_of(self, name: str) -> tuple[str, ...]:
        return tuple(name.split("."))

    def key_fault(self, name: str) -> str | None:
        known = train_leaves()
        if name in known:
            return None
        if below := [leaf for leaf in known if leaf.startswith(name + ".")]:
            return f"{name} is a section of the training config; search one of its keys, such as {below[0]}"
        return f"{name} is not a key of the training config{_nearest(name)} (`ipix-tune keys` lists all)"

    def unsearchable(self, name: str) -> str | None:
        found = (why for key, why in UNSEARCHABLE.items() if name == key or name.startswith(key + "."))
        return next(found, None)

    def canonical(self, name: str, value: Any) -> Any:
        try:
            return _adapter(name).validate_python(value)
        except (KeyError, ValidationError):
            return value

    def refusal(self, name: str, value: object) -> str | None:
        try:
            _adapter(name).validate_python(value)
        except ValidationError as error:
            faults = error.errors()
            if all(fault["type"] == "literal_error" for fault in faults):
                allowed = [
                    word.strip("' ") for fault in faults for word in re.split(" or |,", fault["ctx"]["expected"])
                ]
                return f"allowed are {', '.join(allowed)}{did_you_mean(str(value), allowed)}"
            return str(faults[0]["msg"]).lower()
        return None

    def default(self, data: Section, name: str) -> Any:
        *parents, last = name.split(".")
        here: type[BaseModel] | None = TrainConfig
        node: Any = data
        for part in parents:
            if here is None or part not in here.model_fields:
                return NO_DEFAULT
            field = here.model_fields[part]
            node = node.get(part) if isinstance(node, Mapping) else None
            kind = node.get("name") if isinstance(node, Mapping) else None
            kinds = sections_in(field.annotation)
            named = [one for one in kinds if kind is not None and _says(one, kind)]
            here = named[0] if named else kinds[0] if len(kinds) == 1 else type(field.default)
        if here is None or not hasattr(here, "model_fields") or last not in here.model_fields:
            return NO_DEFAULT
        found = here.model_fields[last]
        return NO_DEFAULT if found.is_required() else found.get_default(call_default_factory=True)

    def dead_keys(self, config: Config) -> Mapping[str, str]:
        asked = own_config(config)
        return {name: why_dead(mark, asked) for name, mark in dead_keys(asked).items()}

    def depends_on(self, config: Config, name: str) -> Iterable[str]:
        return _named(own_config(config), name)

    def refused_together(self, section: Section) -> Sequence[str]:
        return list(refused_keys(section))

    def identity(self, config: Config) -> str:
        return json.dumps(normal_form(own_config(config)).model_dump(mode="json", exclude=NO_PART), sort_keys=True)


def _named(config: TrainConfig, name: str) -> Iterator[str]:
    """Keys that the conditions of ``name`` name, and those of these in turn."""
    declared, todo, done = conditions(config), [name], set()
    while todo:
        here = todo.pop()
        if here in done:
            continue
        done.add(here)
        for mark in declared.get(here, ()):
            todo += mark.named
            yield from mark.named
