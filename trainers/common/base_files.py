"""`base:` in a training config: files that lie below it, such as a preset."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainers.common.errors import ConfigError
from trainers.common.paths import is_there
from trainers.common.shipped import shipped
from trainers.common.yaml_file import read

BASE = "base"
Where = tuple[str | int, ...]
Places = dict[Where, int | str]


def resolved(
    data: Mapping[str, Any], places: Mapping[Where, int | str], *, file: Path, at: Where = ()
) -> tuple[dict[str, Any], Places]:
    """A training config without its `base`, and where its keys stand.

    `base` names a YAML file, or several of which the later lie over the earlier, relative to the file that names them,
    or shipped ones, such as `presets/unified.yaml`. Each may have a `base` of its own. Sections are laid over each
    other key by key, but one whose `name` differs from that below (another method, another data set) replaces it.

    Args:
        data: of ``file``, at the path ``at`` in it.
        places: line of every key by its whole path in ``file``.

    Raises:
        ConfigError: a file cannot be read, or lies below itself.
    """
    return _resolved(dict(data), places, file=file, at=at, above=(file.resolve(),))


def _resolved(
    data: dict[str, Any], places: Mapping[Where, int | str], *, file: Path, at: Where, above: tuple[Path, ...]
) -> tuple[dict[str, Any], Places]:
    if BASE not in data:
        return data, dict(places)
    named = data.pop(BASE)
    own = {where: place for where, place in places.items() if where[: len(at) + 1] != (*at, BASE)}
    here = f"{file}:{places.get((*at, BASE), 1)}"
    found: dict[str, Any] = {}
    spots: Places = {}
    for one in named if isinstance(named, list) else [named]:
        if not isinstance(one, str):
            raise ConfigError(f"{here}: base: expected the path of a YAML file, or a list of them; got {one!r}")
        path = file.parent / one
        if not is_there(path):
            path = shipped(one) or path
        if path.resolve() in above:
            raise ConfigError(f"{here}: base: {one} lies below itself")
        try:
            below, lines = read(path)
        except ConfigError as error:
            raise ConfigError(f"{here}: base: {error}") from None
        below, marks = _resolved(below, lines, file=path, at=(), above=(*above, path.resolve()))
        found = overlaid(found, below)
        named_marks = {
            (*at, *where): mark if isinstance(mark, str) else f"{path}:{mark}" for where, mark in marks.items()
        }
        spots |= named_marks
    return overlaid(found, data), {**spots, **own}


def overlaid(below: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid over ``below``; see :func:`resolved`."""
    found = dict(below)
    for key, value in over.items():
        under = found.get(key)
        if isinstance(value, Mapping) and isinstance(under, Mapping) and _same(under, value):
            found[key] = overlaid(under, value)
        else:
            found[key] = value
    return found


def _same(below: Mapping[str, Any], over: Mapping[str, Any]) -> bool:
    return "name" not in below or "name" not in over or below["name"] == over["name"]
