"""A study's points, whole: a key that a point lacks has the value that it would have had without the search."""

from collections.abc import Callable, Mapping
from typing import Any

from ipix_tune.config.dimension import contains, every_value, from_unit, is_discrete, nearest_value
from ipix_tune.config.dimension_config import Dimension
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.trainer.interface import NO_DEFAULT, SpaceError
from ipix_tune.trainer.resources import Value
from trainers.common.errors import ConfigError


def with_whole_points(study: StudyConfig, *, replaced: Mapping[str, Any], say: Callable[[str], object]) -> StudyConfig:
    """The study, each of whose points gives every dimension that is active in it.

    A value that a point lacks is the one in ``replaced``, else the trainer's default, where the dimension can take it.

    Args:
        replaced: values that the study fixed for keys which are searched now.
        say: takes one line about what was filled in.

    Raises:
        SpaceError: a point cannot be, or lacks what has no such value; with all that lacks, and how to give it.
    """
    space = SearchSpace(study)
    points: list[dict[str, Value]] = []
    filled: dict[str, None] = {}
    lacking: list[str] = []
    for number, given in enumerate(study.points):
        point = dict(given)
        refused: set[str] = set()
        while names := [name for name in space.active(point) if name not in point and name not in refused]:
            value = _default(space, point, names[0], replaced)
            if value is NO_DEFAULT or not contains(space.dimensions[names[0]], value):
                refused.add(names[0])
                lacking.append(f"--set points.{number}.{names[0]}={_shown(_example(space.dimensions[names[0]]))}")
                continue
            point[names[0]] = nearest_value(space.dimensions[names[0]], value)
            filled[f"{names[0]} = {_shown(point[names[0]])}"] = None
        points.append(point)
    if lacking:
        raise SpaceError(
            "the points are incomplete: each gives a value for every dimension that is active in it. Write the missing "
            f"ones into the file, or add, with values of your choice: {' '.join(lacking)}",
            path=("points",),
        )
    for number, point in enumerate(points):
        points[number] = _checked(space, number, point)
    if filled:
        say(f"points that do not give them have the defaults {', '.join(filled)}")
    return study.model_copy(update={"points": points}) if filled else study


def _default(space: SearchSpace, point: Mapping[str, Value], name: str, replaced: Mapping[str, Any]) -> Any:
    if name in replaced:
        return space.trainer.canonical(name, replaced[name])
    try:
        return space.trainer.default(space.to_data(point), name)
    except ConfigError:
        return NO_DEFAULT


def _example(dimension: Dimension) -> Value:
    """A value that would do: what is believed best, else the middle of the range."""
    if dimension.prior is not None:
        return dimension.prior.center
    if dimension.choice is not None:
        return dimension.choice[0]
    if is_discrete(dimension):
        values = every_value(dimension)
        return values[len(values) // 2]
    return float(f"{from_unit(dimension, 0.5):.2g}")


def _shown(value: Value) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _checked(space: SearchSpace, number: int, point: Mapping[str, Value]) -> dict[str, Value]:
    try:
        values = space.check_point(point)
    except SpaceError as error:
        raise SpaceError(str(error), path=("points", number, *error.path)) from None
    space.to_config(values)
    return dict(point)
