"""YAML files into typed configs and back."""

import io
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedOrderedMap, CommentedSeq, CommentedSet, TaggedScalar
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from trainers.common.config_faults import Lines, fault
from trainers.common.errors import ConfigError, did_you_mean

Model = TypeVar("Model", bound=BaseModel)
STANDARD = "tag:yaml.org,2002:"


def read(path: str | Path) -> tuple[dict[str, Any], dict[tuple[str | int, ...], int]]:
    """Plain data of a YAML file, and the line of every key.

    Raises:
        ConfigError: the file is missing, is not YAML, has a key twice, or is not a mapping.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        near = did_you_mean(path.name, (p.name for p in path.parent.glob("*.y*ml"))) if path.parent.is_dir() else ""
        raise ConfigError(f"{path}: no such file{near}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: byte {error.object[error.start]:#04x} at {error.start} is not UTF-8; save the file as UTF-8"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    return read_text(text, source=str(path))


def read_text(text: str, *, source: str) -> tuple[dict[str, Any], dict[tuple[str | int, ...], int]]:
    """Parse a YAML text as :func:`read` does a file; ``source`` stands for the file in messages."""
    try:
        tree = _parsed(text)
    except RecursionError:
        raise ConfigError(f"{source}: {_TOO_DEEP}") from None
    except _ValueError as error:
        raise ConfigError(f"{source}: {error}") from None
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
    try:
        data = _plain(tree, (), lines)
    except _PlainError as error:
        where = source if error.line is None else f"{source}:{error.line}"
        raise ConfigError(f"{where}: {error}") from None
    return data, lines


def parse_value(text: str, *, source: str) -> Any:
    """One YAML value, as on a command line: ``1e-4``, ``[1, 2]``, ``{a: 1}``, ``text``."""
    try:
        return _plain(_parsed(text), (), {})
    except (YAMLError, RecursionError):
        raise ConfigError(f"{source}: {text!r} is not a YAML value{_with_spaces(text)}") from None
    except (_ValueError, _PlainError) as error:
        raise ConfigError(f"{source}: {error}") from None


def _with_spaces(text: str) -> str:
    """What to write where only the space after a colon is missing, which YAML asks for within braces."""
    spaced = re.sub(r"[:,](?=\S)", r"\g<0> ", text)
    try:
        _parsed(spaced)
    except (YAMLError, RecursionError, _ValueError):
        return ""
    return f"; did you mean {spaced!r}? A space follows each colon"


_TOO_DEEP = "not valid YAML: brackets within brackets, too deep to be read"


class _ValueError(Exception):
    """A value looks like one of its kind and is none, such as 2026-13-01 or a number of thousands of digits."""


def _parsed(text: str) -> Any:
    """Raises YAMLError, RecursionError, `_ValueError`."""
    try:
        return YAML(typ="rt").load(text)
    except (ValueError, LookupError, OverflowError) as error:
        raise _ValueError(
            f"a value cannot be read ({error}); a date, or a number of so many digits, that is meant as text stands in "
            "quotes"
        ) from None


class _PlainError(Exception):
    """Something that YAML allows and files here do not: a tag, such as !!python/object, or one key in two ways."""

    def __init__(self, text: str, line: int | None) -> None:
        super().__init__(text)
        self.line = line


def _line_of(node: Any) -> int | None:
    place = getattr(node, "lc", None)
    return None if place is None or place.line is None else place.line + 1


def _plain(node: Any, path: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int]) -> Any:
    tag = str(node.tag.value or "") if isinstance(node, CommentedMap | CommentedSeq | TaggedScalar) else ""
    if isinstance(node, CommentedOrderedMap | CommentedSet | bytes):
        tag = "!!omap" if isinstance(node, CommentedOrderedMap) else "!!binary" if isinstance(node, bytes) else "!!set"
    if tag not in ("", f"{STANDARD}str", f"{STANDARD}map", f"{STANDARD}seq"):
        shown = tag.replace(STANDARD, "!!")
        raise _PlainError(f"the tag {shown} has no meaning here; write the value without it", _line_of(node))
    if isinstance(node, CommentedMap):
        for key, count in Counter(str(key) for key in node).items():
            if count > 1:
                raise _PlainError(
                    f'the key "{key}" stands {count} times, with quotes and without; give it once', _line_of(node)
                )
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
    return str(node.value if isinstance(node, TaggedScalar) else node)


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
        faults = [fault(model, data, one, source=source, lines=lines or {}) for one in error.errors()]
        raise ConfigError("\n".join(dict.fromkeys(faults))) from None
