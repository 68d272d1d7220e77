"""Reads a study file: YAML, then `--set` overrides, then types, then everything that the training config can tell.

Every error names the file and the line, also for keys below `trainer`, `search` and `points`.
"""

import copy
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ipix_tune.config.dimension_config import KINDS
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.config.validate_confirm import check_confirm
from ipix_tune.config.validate_space import check_study
from ipix_tune.config.whole_points import with_whole_points
from ipix_tune.trainer.choose import trainer_of
from ipix_tune.trainer.interface import SpaceError, Trainer
from trainers.common.base_files import resolved
from trainers.common.errors import ConfigError, did_you_mean
from trainers.common.shipped import found
from trainers.common.yaml_file import dump_data, parse_value, read, read_text, validate

Path_ = tuple[str | int, ...]
SECOND, EARLIER_SECOND = ("objective", "second_objective"), ("objective", "against")
"""The second objective, and what it was called at first: studies that were begun with that name go on."""


def load(path: str | Path, overrides: Sequence[str] = (), *, say: Callable[[str], object] | None = None) -> StudyConfig:
    """The study in ``path``, or the shipped one of that name, with ``overrides`` laid over it.

    An override is "dotted.key=value", the value in YAML.

    Paths inside the study (`storage`, `trainer.data.root`) stay as given: relative to the working directory.

    Args:
        say: takes lines about what was filled in; None: they go to stderr.

    Raises:
        ConfigError: with file, line, key, and what to do.
    """
    path = found(Path(path))
    data, lines, replaced = _read(path)
    return _checked(data, lines, overrides, source=str(path), replaced=replaced, say=say)


def from_text(text: str, *, source: str) -> StudyConfig:
    """The study in a text that is to become the file ``source``. Raises ConfigError as :func:`load`."""
    data, lines = read_text(text, source=source)
    return _checked(data, {**lines}, (), source=source)


def from_mapping(data: Mapping[str, Any], overrides: Sequence[str] = (), *, source: str = "study") -> StudyConfig:
    """The study that a mapping holds, as a study file would.

    Args:
        data: keys and values of a study file; `trainer.base` is relative to the working directory.
        overrides: as for :func:`load`.
        source: what messages call it.

    Raises:
        ConfigError: with the key, and what to do.
    """
    own = copy.deepcopy(dict(data))
    if isinstance(own.get("trainer"), dict):
        own["trainer"], _ = resolved(own["trainer"], {}, file=Path(source), at=("trainer",))
    return _checked(own, {}, overrides, source=source)


def _checked(
    data: dict[str, Any],
    lines: dict[Path_, int | str],
    overrides: Sequence[str],
    *,
    source: str,
    replaced: Mapping[str, Any] | None = None,
    say: Callable[[str], object] | None = None,
) -> StudyConfig:
    touched: dict[Path_, str] = {}
    lines = _renamed(data, lines)
    replaced = dict(replaced or {})
    for override in overrides:
        where = apply_override(data, override)
        if where[0] == "search" and len(where) > 1 and where[1] in data["search"]:
            replaced |= _taken_off(data, str(where[1]))
        lines = {at: line for at, line in lines.items() if at[: len(where)] != where}
        touched[where] = override
    try:
        study = validate(StudyConfig, data, source=source, lines=lines)
        study = check_study(study, source=source, lines=lines)
        study = with_whole_points(study, replaced=replaced, say=say or _to_stderr)
        return check_confirm(study)
    except SpaceError as error:
        raise ConfigError(_located(error, source=source, lines=lines, touched=touched)) from None
    except ConfigError as error:
        raise ConfigError(_with_overrides(str(error), touched)) from None


def _renamed(data: dict[str, Any], lines: dict[Path_, int | str]) -> dict[Path_, int | str]:
    """The lines of a study file whose second objective has its present name from here on."""
    section, (_, name), (_, earlier) = data.get("objective"), SECOND, EARLIER_SECOND
    if not isinstance(section, dict) or earlier not in section or name in section:
        return lines
    section[name] = section.pop(earlier)
    return {(*SECOND, *at[2:]) if at[:2] == EARLIER_SECOND else at: line for at, line in lines.items()}


def _to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")


def _taken_off(data: dict[str, Any], name: str) -> dict[str, Any]:
    """The value that `trainer` fixes for a key that an override searches now; it leaves `trainer`."""
    section, (*parents, last) = data.get("trainer"), name.split(".")
    if _trainer(data).free_keys:
        return {}
    for part in parents:
        section = section.get(part) if isinstance(section, dict) else None
    return {name: section.pop(last)} if isinstance(section, dict) and last in section else {}


def _read(path: Path) -> tuple[dict[str, Any], dict[Path_, int | str], dict[str, Any]]:
    """With the files that `trainer.base` names laid below `trainer`; what they fix may be searched all the same, and is
    handed back by name."""
    data, lines = read(path)
    replaced: dict[str, Any] = {}
    if not isinstance(data.get("trainer"), dict):
        return data, {**lines}, replaced
    data["trainer"], places = resolved(data["trainer"], lines, file=path, at=("trainer",))
    searched = data.get("search")
    for name in searched if isinstance(searched, dict) else ():
        where = ("trainer", *name.split("."))
        if isinstance(places.get(where), str):
            section: dict[str, Any] = data
            for part in where[:-1]:
                section = section[part]
            replaced[name] = section.pop(where[-1])
    return data, places, replaced


def dump(study: StudyConfig) -> str:
    """The study as YAML; `load` gives an equal one back."""
    data = study.model_dump(mode="json")
    for name, dimension in data["search"].items():
        data["search"][name] = {key: value for key, value in dimension.items() if value is not None}
        if (prior := data["search"][name].get("prior")) is not None and prior["spread"] is None:
            del prior["spread"]
    return dump_data(data)


def apply_override(data: dict[str, Any], override: str) -> Path_:
    """Lay one ``dotted.key=value`` over the data of a study file, in place; returns the path that it set.

    A key below `search` is a dimension's dotted name, then perhaps one of its keys. Setting a kind takes the place of
    the dimension's kind in the file; `search.<name>=null` removes the dimension, also from the points, and
    `points.0.<name>=null` a value from a point, unless null is one of the choices.
    """
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ConfigError(f"--set {override}: write --set dotted.key=value, such as --set budget.trials=40")
    value = parse_value(text, source=f"--set {override}")
    path = _path(key, data, override)
    if path[0] == "search" and len(path) > 1:
        _set_dimension(data, path, value)
        return path[:2]
    if path[0] == "points" and len(path) > 1:
        _set_point(data, path, value, override)
        return path
    node = data
    for part in path[:-1]:
        child = node.get(str(part))
        if not isinstance(child, dict):
            child = {}
            node[str(part)] = child
        node = child
    node[str(path[-1])] = value
    return path


def _path(key: str, data: Mapping[str, Any], override: str) -> Path_:
    first, _, rest = key.partition(".")
    known = _trainer(data).keys()
    if first not in StudyConfig.model_fields:
        guesses = [*StudyConfig.model_fields, *(f"trainer.{leaf}" for leaf in known)]
        hint = f'; did you mean "trainer.{key}"?' if key in known else did_you_mean(key, guesses)
        raise ConfigError(f"--set {override}: {first} is not a key of a study file{hint}")
    if not rest:
        return (first,)
    if first == "search":
        return (first, *_dimension_path(rest, data, override))
    if first == "confirm" and rest.partition(".")[0] in ("ablate", "defaults"):
        return (first, *rest.split(".", 1))
    if first == "points":
        number, _, name = rest.partition(".")
        if not number.isdigit() or not name:
            raise ConfigError(f"--set {override}: write points.0.<dotted key>=value, or points=[...] for all of them")
        return (first, int(number), name)
    where = tuple(key.split("."))
    return (*SECOND, *where[2:]) if where[:2] == EARLIER_SECOND else where


def _dimension_path(rest: str, data: Mapping[str, Any], override: str) -> Path_:
    """The longest dimension (or leaf) name that ``rest`` starts with, and what follows it."""
    known = {*(data.get("search") or {}), *_trainer(data).keys()}
    parts = rest.split(".")
    for end in range(len(parts), 0, -1):
        name = ".".join(parts[:end])
        if name in known:
            below = parts[end:]
            if below[:1] == ["only_if"] and len(below) > 1:
                below = ["only_if", ".".join(below[1:])]
            return (name, *below)
    name = ".".join(parts[:-1]) if parts[-1] in (*KINDS, "only_if", "prior") else rest
    if (fault := _trainer(data).key_fault(name)) is not None:
        raise ConfigError(f"--set {override}: {fault}")
    return (name, *rest.removeprefix(name).lstrip(".").split(".")) if rest != name else (name,)


def _trainer(data: Mapping[str, Any]) -> Trainer:
    """The trainer of the study that is being read, also where its `trainer` section is wrong."""
    section = data.get("trainer")
    return trainer_of(section if isinstance(section, Mapping) else {})


def _set_dimension(data: dict[str, Any], path: Path_, value: object) -> None:
    search = data.get("search")
    if not isinstance(search, dict):
        search = data["search"] = {}
    name = str(path[1])
    if len(path) == 2 and value is None:
        search.pop(name, None)
        for point in data.get("points") or []:
            if isinstance(point, dict):
                point.pop(name, None)
        return
    if len(path) == 2:
        search[name] = value
        return
    dimension = dict(search[name]) if isinstance(search.get(name), dict) else {}
    search[name] = dimension
    if path[2] in KINDS:
        for kind in KINDS:
            dimension.pop(kind, None)
    if len(path) == 4:
        value = {**(dimension.get(str(path[2])) or {}), str(path[3]): value}
    dimension[str(path[2])] = value


def _set_point(data: dict[str, Any], path: Path_, value: object, override: str) -> None:
    points = data.get("points")
    number = int(path[1])
    if not isinstance(points, list) or number >= len(points):
        count = len(points) if isinstance(points, list) else 0
        raise ConfigError(f"--set {override}: there is no point {number}; the study has {count}, counted from 0")
    name = str(path[2])
    searched = (data.get("search") or {}).get(name)
    choice = searched.get("choice") if isinstance(searched, dict) else None
    if value is None and None not in (choice or ()):
        points[number].pop(name, None)
        return
    points[number] = {**points[number], name: value}


def _located(error: SpaceError, *, source: str, lines: Mapping[Path_, int | str], touched: Mapping[Path_, str]) -> str:
    for where, override in touched.items():
        if error.path[: len(where)] == where:
            return f"--set {override}: {error}"
    for end in range(len(error.path), 0, -1):
        if (line := lines.get(error.path[:end])) is not None:
            return f"{source}:{line}: {error}" if isinstance(line, int) else f"{line}: {error}"
    return f"{source}: {error}"


def _with_overrides(message: str, touched: Mapping[Path_, str]) -> str:
    """An error about a key that an override set names the override, since no line of the file is to blame."""
    for where, override in touched.items():
        name = ".".join(map(str, where[1:] if where[0] == "trainer" else where))
        if name in message:
            return f"{message} (from --set {override})"
    return message
