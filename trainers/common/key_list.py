"""The keys of a typed config as a reader wants them: dotted name, type with its range, default, meaning."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from trainers.common.config_keys import sections_in
from trainers.common.depends_on import OnlyIf

REQUIRED = "must be given"
PLAIN = {bool: "true or false", int: "whole number", float: "number", str: "text", NoneType: "null", Any: "any value"}
SIGNS = {"gt": "> ", "ge": "≥ ", "lt": "< ", "le": "≤ "}


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key of a config file.

    Args:
        name: dotted, from the file's top.
        type: with range or allowed values, in words.
        default: as YAML; :data:`REQUIRED` where there is none.
        meaning: one paragraph; '' where the name says all.
        variants: of a section that comes in kinds (methods, data layouts), the kinds that have this key; empty: all.
    """

    name: str
    type: str
    default: str
    meaning: str
    variants: tuple[str, ...] = ()

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default == REQUIRED


SINGLE = {bool, int, float, str, NoneType}


def keys_in(model: type[BaseModel], *, prefix: str = "", without: frozenset[str] = frozenset()) -> list[Key]:
    """Every key of a config below ``prefix``, in the file's order. The kinds of a section that has several are walked
    through one after the other; what they have in common is told once.

    Args:
        without: names of top-level fields to leave out.
    """
    found: dict[tuple[str, str, str, str], list[str]] = {}
    kinds: dict[str, set[str]] = {}
    for key in _walk(model, None, prefix, without):
        section = key.name.rpartition(".")[0]
        kinds.setdefault(section, set()).update(key.variants)
        found.setdefault((key.name, key.type, key.default, key.meaning), []).extend(key.variants)
    rows = []
    for (name, kind, default, meaning), variants in found.items():
        section = name.rpartition(".")[0]
        some = () if set(variants) >= kinds[section] else tuple(dict.fromkeys(variants))
        rows.append(Key(name=name, type=kind, default=default, meaning=meaning, variants=some))
    return _together(_together(rows, lambda row: row.name), lambda row: row.name.rpartition(".")[0])


def _together(rows: list[Key], of: Callable[[Key], str]) -> list[Key]:
    """Rows of one group beside each other, groups in the order of their first row."""
    first = {group: place for place, group in enumerate(dict.fromkeys(map(of, rows)))}
    return sorted(rows, key=lambda row: first[of(row)])


def _walk(
    model: type[BaseModel],
    instance: BaseModel | None,
    prefix: str,
    without: frozenset[str],
    variants: tuple[str, ...] = (),
) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        if name in without:
            continue
        default = getattr(instance, name) if instance is not None else field.get_default(call_default_factory=True)
        sections = sections_in(field.annotation)
        if not sections or NoneType in _parts(field.annotation):
            yield Key(
                name=prefix + name,
                type=words(field.annotation, field.metadata),
                default=REQUIRED if field.is_required() and instance is None else _yaml(default),
                meaning=_meaning(field),
                variants=variants,
            )
        own = default if isinstance(default, BaseModel) else None
        several = len(sections) > 1
        if several and (listed := _kinds(sections)):
            yield Key(
                name=f"{prefix}{name}.name",
                type=" | ".join(listed),
                default=REQUIRED if own is None else _yaml(getattr(own, "name", None)),
                meaning="Which kind this section is; it decides which other keys there are.",
            )
        for section in sections:
            below = own if type(own) is section else None
            kind = _kind(section) if several else None
            inside = frozenset({"name"}) if kind is not None else frozenset()
            yield from _walk(section, below, f"{prefix}{name}.", inside, (kind,) if kind is not None else variants)
        for section in _values(field.annotation):
            yield from _walk(section, None, f"{prefix}{name}.<key>.", frozenset())


def _kinds(sections: list[type[BaseModel]]) -> list[str]:
    return [kind for one in sections if (kind := _kind(one)) is not None]


def _kind(section: type[BaseModel]) -> str | None:
    field = section.model_fields.get("name")
    values = get_args(field.annotation) if field is not None and get_origin(field.annotation) is Literal else ()
    return str(values[0]) if values else None


def _values(annotation: Any) -> list[type[BaseModel]]:
    return sections_in(get_args(annotation)[1]) if get_origin(annotation) is dict else []


def _parts(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Annotated:
        return _parts(get_args(annotation)[0])
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _meaning(field: FieldInfo) -> str:
    text = " ".join((field.description or "").split())
    marks = [one for one in field.metadata if isinstance(one, OnlyIf)]
    said = [f"Has an effect only where {mark}." if str(mark) else "Has no effect." for mark in marks]
    return " ".join([text, *said]).strip()


def _yaml(value: Any) -> str:
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, default=list)


def words(annotation: Any, metadata: list[Any] | tuple[Any, ...] = ()) -> str:
    """A type and its limits: `number > 0, ≤ 1`, `sgd | adamw`, `list of text, or null`."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return words(inner[0], [*_flat(inner[1:]), *metadata])
    if set(inner) >= SINGLE and origin in (Union, UnionType):
        return ", or ".join(["any value", *(words(one) for one in inner if one not in SINGLE)])
    if origin in (Union, UnionType):
        several = [words(one) for one in inner if one is not NoneType and not sections_in(one)]
        parts = list(dict.fromkeys(several)) + (["a section"] if any(map(sections_in, inner)) else [])
        parts[0:1] = [_limited(parts[0], metadata)]
        return ", or ".join(parts + (["null"] if NoneType in inner else []))
    if origin is Literal:
        return " | ".join(_yaml(one) for one in inner)
    if origin in (list, tuple) and inner:
        fixed = origin is tuple and inner[-1] is not Ellipsis
        shown = f"[{', '.join(map(words, inner))}]" if fixed else f"list of {words(inner[0])}"
        return _limited(shown, metadata)
    if origin is dict:
        return f"mapping of {words(inner[0])} to {'sections' if sections_in(inner[1]) else words(inner[1])}"
    if sections_in(annotation):
        return "a section"
    return _limited(PLAIN.get(annotation, getattr(annotation, "__name__", "value")), metadata)


def _flat(metadata: tuple[Any, ...]) -> list[Any]:
    return [one for mark in metadata for one in (mark.metadata if isinstance(mark, FieldInfo) else [mark])]


def _limited(shown: str, metadata: list[Any] | tuple[Any, ...]) -> str:
    limits = []
    for mark in metadata:
        limits += [f"{sign}{_yaml(getattr(mark, name))}" for name, sign in SIGNS.items() if hasattr(mark, name)]
        if (least := getattr(mark, "min_length", None)) and not hasattr(mark, "gt"):
            limits.append(f"at least {least} long")
        if (most := getattr(mark, "max_length", None)) is not None:
            limits.append(f"at most {most} long")
        if (pattern := getattr(mark, "pattern", None)) is not None:
            limits.append(f"like `{pattern}`")
    return f"{shown} {', '.join(limits)}" if limits else shown
