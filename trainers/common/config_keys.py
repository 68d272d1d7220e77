"""Dotted names of a config's keys: of its type, and of plain data."""

from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from trainers.common.depends_on import OnlyIf
from trainers.common.errors import ConfigError


def sections_in(annotation: Any) -> list[type[BaseModel]]:
    """Every config section that an annotation can stand for."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return [found for one in get_args(annotation) for found in sections_in(one)]
    return []


def leaves(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Annotation, with its limits, of every leaf by dotted name, through all variants of every union."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        dotted = f"{prefix}{name}"
        sections = sections_in(field.annotation)
        for section in sections:
            for leaf, annotation in leaves(section, dotted + ".").items():
                found[leaf] = found[leaf] | annotation if leaf in found and found[leaf] != annotation else annotation
        if not sections or type(None) in get_args(field.annotation):
            limits = [one for one in field.metadata if not isinstance(one, OnlyIf)]
            found[dotted] = Annotated[field.annotation, *limits] if limits else field.annotation
    return found


def keys_of(data: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of all values of nested mappings."""
    return [
        name
        for key, value in data.items()
        for name in (keys_of(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [f"{prefix}{key}"])
    ]


def get_dotted(data: Mapping[str, Any], name: str, default: object = None) -> Any:
    """The value at a dotted name of nested mappings."""
    node: Any = data
    for part in name.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return default
        node = node[part]
    return node


def set_dotted(data: dict[str, Any], name: str, value: Any) -> None:
    """Set a nested key in place, making the sections on the way.

    Raises:
        ConfigError: a part on the way is a value, not a section.
    """
    *parents, last = name.split(".")
    node = data
    for depth, part in enumerate(parents):
        child = node.get(part)
        if child is None:
            child = node[part] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"{name}: {'.'.join(parents[: depth + 1])} is a value ({child!r}), not a section")
        node = child
    node[last] = value
