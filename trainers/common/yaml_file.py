"""YAML files into typed configs and back, with messages that name the file, the line and the nearest valid key."""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from trainers.common.depends_on import OnlyIf
from trainers.common.errors import ConfigError, did_you_mean

Model = TypeVar("Model", bound=BaseModel)
Lines = Mapping[tuple[str | int, ...], int | str]
"""Line number (from 1) of every key and list entry, by its path; words where it does not come from the file."""


def read(path: str | Path) -> tuple[dict[str, Any], dict[tuple[str | int, ...], int]]:
    """Plain data of a YAML file, and the line of every key.

    Raises:
        ConfigError: the file is missing, is not YAML, has a key twice, or is not a mapping.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = did_you_mean(path.name, (p.name for p in path.parent.glob("*.y*ml"))) if path.parent.is_dir() else ""
        raise ConfigError(f"{path}: no such file{near}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    return read_text(text, source=str(path))


def read_text(text: str, *, source: str) -> tuple[dict[str, Any], dict[tuple[str | int, ...], int]]:
    """Parse a YAML text as :func:`read` does a file; ``source`` stands for the file in messages."""
    try:
        tree = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}" if mark is not None else source
        raise ConfigError(f"{where}: not valid YAML: {(error.problem or str(error)).strip().splitlines()[0]}") from None
    except YAMLError as error:
        raise ConfigError(f"{source}: not valid YAML: {error}") from None
    if not isinstance(tree, CommentedMap):
        found = "nothing" if tree is None else "a list" if isinstance(tree, CommentedSeq) else "one value"
        raise ConfigError(f"{source}: expected keys and values at the top, found {found}")
    lines: dict[tuple[str | int, ...], int] = {}
    data = _plain(tree, (), lines)
    return data, lines


def parse_value(text: str, *, source: str) -> Any:
    """One YAML value, as on a command line: ``1e-4``, ``[1, 2]``, ``{a: 1}``, ``text``."""
    try:
        return _plain(YAML(typ="rt").load(text), (), {})
    except YAMLError:
        raise ConfigError(f"{source}: {text!r} is not a YAML value") from None


def _plain(node: Any, path: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int]) -> Any:
    if isinstance(node, CommentedMap):
        for key in node:
            if key in node.lc.data:
                lines[(*path, str(key))] = node.lc.key(key)[0] + 1
        return {str(key): _plain(value, (*path, str(key)), lines) for key, value in node.items()}
    if isinstance(node, CommentedSeq):
        for index in range(len(node)):
            lines[(*path, index)] = node.lc.item(index)[0] + 1
        return [_plain(value, (*path, index), lines) for index, value in enumerate(node)]
    if node is None:
        return None
    if isinstance(node, bool):
        return bool(node)
    if isinstance(node, int):
        return int(node)
    if isinstance(node, float):
        return float(node)
    return str(node)


def load(path: str | Path, model: type[Model]) -> Model:
    """A typed config from a YAML file. Raises ConfigError."""
    data, lines = read(path)
    return validate(model, data, source=str(path), lines=lines)


def parse(text: str, model: type[Model], *, source: str = "<text>") -> Model:
    """A typed config from YAML text. Raises ConfigError."""
    data, lines = read_text(text, source=source)
    return validate(model, data, source=source, lines=lines)


def dump(model: BaseModel) -> str:
    """YAML of a config; parsing it gives an equal config."""
    return dump_data(model.model_dump(mode="json"))


def dump_data(data: Mapping[str, Any]) -> str:
    """YAML of plain data, keys in their order."""
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.width = 4096
    out = io.StringIO()
    yaml.dump(dict(data), out)
    return out.getvalue()


def validate(model: type[Model], data: Any, *, source: str, lines: Lines | None = None) -> Model:
    """``data`` as a typed config.

    Raises:
        ConfigError: one line per fault: file, line, dotted key, what was given, what is allowed.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        faults = [_fault(model, data, one, source=source, lines=lines or {}) for one in error.errors()]
        raise ConfigError("\n".join(dict.fromkeys(faults))) from None


def _fault(model: type[BaseModel], data: Any, error: ErrorDetails, *, source: str, lines: Lines) -> str:
    path = _real_path(data, error["loc"])
    kind, given = error["type"], error["input"]
    if kind == "union_tag_invalid":
        path = (*path, error["ctx"]["discriminator"].strip("'"))
        tag = str(error["ctx"]["tag"])
        allowed = [word.strip(" '") for word in error["ctx"]["expected_tags"].split(",")]
        text = f'"{tag}" is unknown{did_you_mean(tag, allowed)}; allowed: {", ".join(allowed)}'
    elif kind == "union_tag_not_found":
        key = error["ctx"]["discriminator"].strip("'")
        text = f"{key} is missing; it says which kind this section is"
    elif kind == "extra_forbidden":
        allowed = _keys_at(model, data, path[:-1])
        hint = _elsewhere(model, path) or did_you_mean(str(path[-1]), allowed)
        text = f"unknown key{hint}; allowed: {', '.join(allowed)}"
    elif kind == "missing":
        text = "missing; it has no default"
    elif kind in ("model_type", "model_attributes_type"):
        text = f"expected a section of keys and values; got {_shown(given)}"
    elif kind == "literal_error":
        allowed = [word.strip("'") for word in re.split(", | or ", error["ctx"]["expected"])]
        text = f"{_shown(given)} is unknown{did_you_mean(str(given), allowed)}; allowed: {', '.join(allowed)}"
    else:
        text = f"{error['msg'].removeprefix('Value error, ')}; got {_shown(given)}"
        if kind == "value_error" and isinstance(given, Mapping):
            text = error["msg"].removeprefix("Value error, ")
    return f"{_where(source, path, lines)}: {'.'.join(map(str, path)) or 'file'}: {text}"


def _elsewhere(model: type[BaseModel], path: Sequence[str | int]) -> str:
    """Where the last part of a path is a key: in other sections, or in another kind of the same one."""
    dotted, last = ".".join(map(str, path)), str(path[-1])
    known = leaves(model)
    found = [f'"{name}"' for name in known if name.rpartition(".")[2] == last and name != dotted]
    hint = f"; did you mean {' or '.join(found)}?" if found else ""
    if dotted in known:
        kinds = [str(_tag(one)) for one in _sections_at(model, path[:-1]) if last in one.model_fields]
        hint += f"{'' if found else ';'} it is a key of {dotted.rpartition('.')[0]}.name: {', '.join(kinds)}"
    return hint


def _sections_at(model: type[BaseModel], path: Sequence[str | int]) -> list[type[BaseModel]]:
    """Every kind of the section at ``path``."""
    here = [model]
    for part in path:
        here = [
            found
            for one in here
            if isinstance(part, str) and part in one.model_fields
            for found in sections_in(one.model_fields[part].annotation)
        ]
    return here


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _where(source: str, path: Sequence[str | int], lines: Lines) -> str:
    for end in range(len(path), 0, -1):
        if (line := lines.get(tuple(path[:end]))) is not None:
            return f"{source}:{line}" if isinstance(line, int) else line
    return source


def _real_path(data: Any, loc: Sequence[str | int]) -> tuple[str | int, ...]:
    """``loc`` without the union tags that pydantic puts between keys."""
    path: list[str | int] = []
    node = data
    for index, part in enumerate(loc):
        if isinstance(node, Mapping):
            if part not in node and index < len(loc) - 1:
                continue
            node = node.get(part)
        elif isinstance(node, list | tuple) and isinstance(part, int) and part < len(node):
            node = node[part]
        else:
            continue
        path.append(part)
    return tuple(path)


def sections_in(annotation: Any) -> list[type[BaseModel]]:
    """Every config section that an annotation can stand for."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return [found for one in get_args(annotation) for found in sections_in(one)]
    return []


def _keys_at(model: type[BaseModel], data: Any, path: Sequence[str | int]) -> list[str]:
    """Valid keys of the section at ``path``; of a union, those of the variant that the data names."""
    here: list[type[BaseModel]] = [model]
    node = data
    for part in path:
        node = _child(node, part)
        if isinstance(part, int):
            continue
        here = [
            found
            for one in here
            if part in one.model_fields
            for found in sections_in(one.model_fields[part].annotation)
        ] or [found for one in here for f in one.model_fields.values() for found in _values(f.annotation)]
        named = [one for one in here if isinstance(node, Mapping) and _tag(one) == node.get("name")]
        here = named or here
    return list(dict.fromkeys(name for one in here for name in one.model_fields))


def _child(node: Any, part: str | int) -> Any:
    if isinstance(node, Mapping):
        return node.get(part)
    return node[part] if isinstance(node, list) and isinstance(part, int) else None


def _values(annotation: Any) -> list[type[BaseModel]]:
    if get_origin(annotation) is dict:
        return sections_in(get_args(annotation)[1])
    return []


def _tag(model: type[BaseModel]) -> Any:
    field = model.model_fields.get("name")
    values = get_args(field.annotation) if field is not None else ()
    return values[0] if values else None


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
