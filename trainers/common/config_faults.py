"""What is wrong with a config, a line for each fault: file, line, dotted key, what was given, what is allowed, and the
nearest valid spelling."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from trainers.common.config_keys import leaves, sections_in
from trainers.common.errors import did_you_mean

Lines = Mapping[tuple[str | int, ...], int | str]
"""Line number (from 1) of every key and list entry, by its path; words where it does not come from the file."""


def fault(model: type[BaseModel], data: Any, error: ErrorDetails, *, source: str, lines: Lines) -> str:
    """What one of pydantic's errors says of ``data``, as a line."""
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
