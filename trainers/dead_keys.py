"""Which keys of a config can change nothing, by what its fields declare (`trainers.common.depends_on`).

A key is dead where one of its conditions does not hold, and also where a condition holds by the value of a key that is
itself dead: that key could have any other value, under which nothing of the first would be left.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from trainers.common.depends_on import OnlyIf, allows, shown
from trainers.common.section import Section
from trainers.config import TrainConfig

_MISSING = object()


def conditions(config: TrainConfig) -> dict[str, tuple[OnlyIf, ...]]:
    """What each key of the config depends on, under the config's own method and data: dotted names throughout."""
    found: dict[str, tuple[OnlyIf, ...]] = {}
    elsewhere: list[tuple[str, OnlyIf]] = []
    for name, marks, section in _walk(config, "", ()):
        found[name] = marks
        if section is not None:
            elsewhere += [(key, mark) for keys, mark in section.others_only_if.items() for key in keys]
    for key, mark in elsewhere:
        if key in found:
            found[key] = (*found[key], mark)
    return found


def dead_keys(config: TrainConfig) -> dict[str, OnlyIf]:
    """Every key that can change nothing here, with the condition that does not hold: its own, or that of a key by which
    its own holds."""
    declared = conditions(config)
    known: dict[str, OnlyIf | None] = {}

    def failing(name: str) -> OnlyIf | None:
        if name not in known:
            known[name] = next(filter(None, map(unmet, declared.get(name, ()))), None)
        return known[name]

    def unmet(mark: OnlyIf) -> OnlyIf | None:
        inner = None
        for alternative in mark.alternatives:
            if all(allows(allowed, value_at(config, key)) for key, allowed in alternative.items()):
                inner = next(filter(None, map(failing, alternative)), None)
                if inner is None:
                    return None
        return mark if inner is None else inner

    return {name: mark for name in declared if (mark := failing(name)) is not None}


def normal_form(config: TrainConfig) -> TrainConfig:
    """The config with every dead key at its default: equal for configs that train alike, seed for seed."""
    dead = dead_keys(config)
    return _at_defaults(config, dead, "") if dead else config


def without_refused(data: dict[str, Any], changed: Collection[str]) -> None:
    """Takes out of a config's plain data, in place, what it would refuse because of a value that was changed: what the
    config underneath gives stands where it has a meaning.

    Only keys of top-level sections refuse anything in this way.

    Args:
        changed: dotted names of what was laid over; none of them is taken out.
    """
    for name, named in refused_keys(data).items():
        if named & set(changed) and name not in changed:
            section, _, key = name.partition(".")
            del data[section][key]


def refused_keys(data: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Keys of a config's plain data that it refuses because a condition does not hold, and the keys that this names."""
    found: dict[str, frozenset[str]] = {}
    for prefix, kind in _top_sections():
        section = data.get(prefix)
        if not isinstance(section, Mapping):
            continue
        for key, field in kind.model_fields.items():
            marks = [one for one in field.metadata if isinstance(one, OnlyIf) and one.refused]
            unmet = [mark for mark in marks if not _holds_plainly(mark, section, kind)]
            if unmet and section.get(key, field.get_default()) != field.get_default():
                found[f"{prefix}.{key}"] = frozenset(f"{prefix}.{name}" for mark in unmet for name in mark.named)
    return found


def why_dead(mark: OnlyIf, config: TrainConfig) -> str:
    """A condition that does not hold, and what is given instead, for messages."""
    if not mark.alternatives:
        return f"{config.method.name} makes no use of it"
    given = [f"{key} is {shown(value_at(config, key))}" for key in sorted(mark.named)]
    return f"it has one only if {mark} (here {' and '.join(given)})"


def value_at(config: TrainConfig, name: str) -> Any:
    """The value of a dotted name; a marker that no condition allows where there is none."""
    node: Any = config
    for part in name.split("."):
        node = getattr(node, part, _MISSING)
    return node


def _top_sections() -> list[tuple[str, type[Section]]]:
    kinds = {name: field.annotation for name, field in TrainConfig.model_fields.items()}
    return [(name, kind) for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Section)]


def _holds_plainly(mark: OnlyIf, section: Mapping[str, Any], kind: type[Section]) -> bool:
    """Whether a mark holds that names keys of its own section."""
    given = {key: section.get(key, field.get_default()) for key, field in kind.model_fields.items()}
    return any(all(allows(want, given.get(key)) for key, want in one.items()) for one in mark.alternatives)


def _walk(
    section: Section, prefix: str, above: tuple[OnlyIf, ...]
) -> Iterator[tuple[str, tuple[OnlyIf, ...], Section | None]]:
    """Every field below, with the marks of the sections around it, and itself where it is a section."""
    if section.section_only_if is not None:
        above = (*above, section.section_only_if.within(prefix))
    for name, field in type(section).model_fields.items():
        full = prefix + name
        own = tuple(mark.within(prefix) for mark in field.metadata if isinstance(mark, OnlyIf))
        marks = tuple(mark for mark in (*above, *own) if full not in mark.named)
        value = getattr(section, name)
        yield full, marks, value if isinstance(value, Section) else None
        if isinstance(value, Section):
            yield from _walk(value, f"{full}.", marks)


def _at_defaults(section: Any, dead: Mapping[str, OnlyIf], prefix: str) -> Any:
    update: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        full, value = prefix + name, getattr(section, name)
        if full in dead and not field.is_required():
            update[name] = field.get_default(call_default_factory=True)
        elif isinstance(value, BaseModel):
            update[name] = _at_defaults(value, dead, f"{full}.")
    return section.model_copy(update=update)
