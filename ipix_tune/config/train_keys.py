"""The leaves of the training config by dotted name, as the study side needs them."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from trainers.common.errors import did_you_mean
from trainers.common.yaml_file import leaves
from trainers.config import TrainConfig


@cache
def train_leaves() -> Mapping[str, Any]:
    """Annotation of every leaf of the training config, through all methods and data layouts."""
    return leaves(TrainConfig)


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


def get_dotted(data: Mapping[str, Any], name: str, default: object = None) -> Any:
    """The value at a dotted name of nested mappings."""
    node: Any = data
    for part in name.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return default
        node = node[part]
    return node


def has_val(config: TrainConfig) -> bool:
    """Whether the data name images to report on: a benchmark's validation set, or a list of one's own."""
    return config.data.val is not None or type(config.data).own_lists
