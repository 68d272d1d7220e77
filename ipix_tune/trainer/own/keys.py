"""The leaves of the training config by dotted name, as the study side needs them."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

from ipix_tune.trainer.interface import NO_DEFAULT
from trainers.common.config_keys import leaves, sections_in
from trainers.common.errors import did_you_mean
from trainers.common.key_list import Key, keys_in
from trainers.config import TrainConfig

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


def canonical(name: str, value: Any) -> Any:
    """``value`` in the type of the leaf ("1e-4" becomes 0.0001, 1 becomes 1.0 where the leaf is a float); as it is
    where the leaf refuses it, since whoever checks says so with more to go by."""
    try:
        return _adapter(name).validate_python(value)
    except (KeyError, ValidationError):
        return value


def refusal(name: str, value: object) -> str | None:
    """Why the leaf refuses ``value``, or None."""
    try:
        _adapter(name).validate_python(value)
    except ValidationError as error:
        faults = error.errors()
        if all(fault["type"] == "literal_error" for fault in faults):
            allowed = [word.strip("' ") for fault in faults for word in re.split(" or |,", fault["ctx"]["expected"])]
            return f"allowed are {', '.join(allowed)}{did_you_mean(str(value), allowed)}"
        return str(faults[0]["msg"]).lower()
    return None


def leaf_default(data: Mapping[str, Any], name: str) -> Any:
    """The default of a leaf in a config with this plain data, whose sections say which kind they are."""
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


def _says(section: type[BaseModel], kind: str) -> bool:
    field = section.model_fields.get("name")
    return field is not None and kind in get_args(field.annotation)


def nearest_leaf(name: str) -> str:
    """By the last part of the name where a section has one like it, all of them; or else by the whole dotted name."""
    known = train_leaves()
    last = name.rsplit(".", 1)[-1]
    same_end = [f'"{leaf}"' for leaf in known if leaf.rsplit(".", 1)[-1] == last]
    return f"; did you mean {' or '.join(same_end)}?" if same_end else did_you_mean(name, known)


def own_key_list() -> list[Key]:
    """Every key with its type, range, default and meaning."""
    return keys_in(TrainConfig)


def has_val(config: TrainConfig) -> bool:
    """Whether the data name images to report on: a benchmark's validation set, or a list of one's own."""
    return config.data.val is not None or type(config.data).own_lists
