"""The search space of a study: dotted names of a run's keys, in an order where conditions come first.

Optuna's parameter names are the dotted names. A dimension whose `only_if` does not hold is inactive: it is neither
suggested nor set, and the config's own value stands.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from ipix_tune.config import dimension as dimensions
from ipix_tune.config.dimension_config import Dimension
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.trainer.choose import trainer_of
from ipix_tune.trainer.interface import Config, SpaceError
from ipix_tune.trainer.resources import Value
from trainers.common.config_keys import get_dotted
from trainers.common.errors import did_you_mean

if TYPE_CHECKING:
    import optuna

_MISSING = object()
MOST_OF_A_GRID = 100_000
"""Most configurations of a grid: all are listed, and all are run."""


class SearchSpace:
    """What a study searches, checked for order only; `ipix_tune.config.validate_space` checks it against the
    trainer."""

    def __init__(self, study: StudyConfig) -> None:
        self.section = study.trainer
        self.trainer = trainer_of(study.trainer)
        self.dimensions: dict[str, Dimension] = _parents_first(study.search)

    def suggest(self, trial: "optuna.Trial") -> dict[str, Value]:
        """Active leaves and their values, asked of Optuna one after the other (define by run)."""
        return self.draw(lambda name, dimension: suggest(trial, name, dimension))

    def sample(self, rng: random.Random, *, corners: bool = False) -> dict[str, Value]:
        """One independent draw without Optuna; with ``corners`` ranges give only their ends."""
        return self.draw(lambda _, dimension: dimensions.sample(rng, dimension, corners=corners))

    def draw(self, draw: Callable[[str, Dimension], Value]) -> dict[str, Value]:
        """A configuration whose active dimensions get what ``draw`` gives for them, conditions first."""
        values: dict[str, Value] = {}
        for name, dimension in self.dimensions.items():
            if self._holds(dimension, values):
                values[name] = draw(name, dimension)
        return values

    def _holds(self, dimension: Dimension, values: Mapping[str, Value]) -> bool:
        for key, wanted in (dimension.only_if or {}).items():
            allowed = wanted if isinstance(wanted, list) else [wanted]
            value = values.get(key, _MISSING) if key in self.dimensions else self.fixed(key)
            if not any(dimensions.same(value, one) for one in allowed):
                return False
        return True

    def fixed(self, key: str) -> object:
        """The value of ``key`` in the study's `trainer` section, as the trainer reads it; a marker that
        equals nothing where it is not given."""
        value = self.given(key, _MISSING)
        return value if value is _MISSING else self.trainer.canonical(key, value)

    def given(self, key: str, default: object = None) -> Any:
        """What the study's `trainer` section has for a key, as it stands there."""
        return get_dotted(self.section, ".".join(self.trainer.path_of(key)), default)

    def active(self, values: Mapping[str, Value]) -> tuple[str, ...]:
        """Names of the dimensions whose conditions hold under ``values``."""
        known: dict[str, Value] = {}
        names = []
        for name, dimension in self.dimensions.items():
            if self._holds(dimension, known):
                names.append(name)
                if name in values:
                    known[name] = values[name]
        return tuple(names)

    def check_point(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The point with its values in the leaves' own types and the space's order.

        Raises:
            SpaceError: a key that is not searched, that is inactive here or that is missing; a value out of range.
                Its path is relative to the point.
        """
        for name in values:
            if name not in self.dimensions:
                hint = did_you_mean(name, self.dimensions)
                raise SpaceError(f"{name} is not searched{hint}; remove it from the point", path=(name,))
        point = {name: self.trainer.canonical(name, value) for name, value in values.items()}
        active = self.active(point)
        for name, value in point.items():
            if name not in active:
                conditions = _conditions(self.dimensions[name])
                raise SpaceError(f"{name} is inactive in this point: it is searched only if {conditions}", path=(name,))
            if not dimensions.contains(self.dimensions[name], value):
                described = dimensions.describe_range(self.dimensions[name])
                raise SpaceError(f"{name} = {value!r} is outside {described}", path=(name,))
        if missing := [name for name in active if name not in point]:
            raise SpaceError(f"the point is incomplete: it lacks {', '.join(missing)}", path=())
        return {name: point[name] for name in active}

    def to_config(self, values: Mapping[str, Value]) -> Config:
        """The config of one trial.

        Raises:
            ConfigError: the trainer refuses the values.
        """
        named = ", ".join(f"{name}={value}" for name, value in values.items())
        return self.trainer.validated(self.to_data(values), source=f"trial ({named})", lines={})

    def to_data(self, values: Mapping[str, Value]) -> Any:
        """The same as plain data, not yet validated."""
        return self.trainer.data_of(self.section, values, self.choices)

    @property
    def choices(self) -> dict[str, Sequence[Value]]:
        """The values of the dimensions that are choices."""
        return {name: one.choice for name, one in self.dimensions.items() if one.choice is not None}

    def describe(self) -> dict[str, dict[str, Any]]:
        """Every dimension as `analysis.columns` has it under `space`; what does not apply is None."""
        return {name: dimensions.describe(dimension) for name, dimension in self.dimensions.items()}

    def fixed_distributions(self) -> "dict[str, optuna.distributions.BaseDistribution]":
        """Optuna's distribution of every dimension, active or not."""
        return {name: distribution(dimension) for name, dimension in self.dimensions.items()}

    def grid(self) -> dict[str, list[Value]]:
        """Every value of every dimension, for a grid search.

        Raises:
            SpaceError: a dimension is continuous and so has no grid; or there are too many configurations to list.
        """
        for name, dimension in self.dimensions.items():
            if not dimensions.is_discrete(dimension):
                raise SpaceError(
                    f"{name} is continuous ({dimensions.describe_range(dimension)}), and a grid needs values: use "
                    "quniform [low, high, step], int or choice, or another sampler",
                    path=("search", name),
                )
        if next(islice(self.configurations(), MOST_OF_A_GRID, None), None) is not None:
            raise SpaceError(
                f"the grid has more than {MOST_OF_A_GRID} configurations, and all of them are run: give fewer "
                "values, or another sampler",
                path=("search",),
            )
        return {name: list(dimensions.every_value(dimension)) for name, dimension in self.dimensions.items()}

    def grid_points(self) -> list[dict[str, Value]]:
        """Every distinct configuration of the grid, inactive dimensions left out."""
        self.grid()
        return list(self.configurations())

    @property
    def is_discrete(self) -> bool:
        """Whether there are finitely many configurations."""
        return all(dimensions.is_discrete(dimension) for dimension in self.dimensions.values())

    @property
    def has_priors(self) -> bool:
        return any(dimension.prior is not None for dimension in self.dimensions.values())

    def configurations(self) -> Iterator[dict[str, Value]]:
        """Every configuration of a discrete space, one after the other, inactive dimensions left out."""
        return self._extend({}, list(self.dimensions.items()))

    def _extend(self, values: dict[str, Value], rest: list[tuple[str, Dimension]]) -> Iterator[dict[str, Value]]:
        if not rest:
            yield values
            return
        (name, dimension), *others = rest
        if not self._holds(dimension, values):
            yield from self._extend(values, others)
            return
        for value in dimensions.every_value(dimension):
            yield from self._extend({**values, name: value}, others)


def suggest(trial: "optuna.Trial", name: str, dimension: Dimension) -> Value:
    """The value that Optuna's sampler gives one dimension of a trial."""
    if dimension.choice is not None:
        value: Value = trial.suggest_categorical(name, dimension.choice)
        return value
    low, high = dimensions.ends(dimension)
    if dimension.kind in ("int", "logint"):
        return trial.suggest_int(name, int(low), int(high), log=dimension.kind == "logint")
    if dimension.quniform is not None:
        return trial.suggest_float(name, low, high, step=dimension.quniform[2])
    return trial.suggest_float(name, low, high, log=dimension.kind == "loguniform")


def distribution(dimension: Dimension) -> "optuna.distributions.BaseDistribution":
    """What Optuna draws from in :func:`suggest`."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.choice is not None:
        return CategoricalDistribution(dimension.choice)
    low, high = dimensions.ends(dimension)
    if dimension.kind in ("int", "logint"):
        return IntDistribution(int(low), int(high), log=dimension.kind == "logint")
    if dimension.quniform is not None:
        return FloatDistribution(low, high, step=dimension.quniform[2])
    return FloatDistribution(low, high, log=dimension.kind == "loguniform")


def _conditions(dimension: Dimension) -> str:
    return " and ".join(f"{key} is {wanted!r}" for key, wanted in (dimension.only_if or {}).items())


def _parents_first(search: Mapping[str, Dimension]) -> dict[str, Dimension]:
    """The file's order, except that a dimension comes after those that its conditions name."""
    done: dict[str, Dimension] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            circle = " -> ".join((*trail[trail.index(name) :], name))
            raise SpaceError(f"only_if goes in a circle: {circle}", path=("search", name, "only_if"))
        if name in done:
            return
        for parent in search[name].only_if or {}:
            if parent in search:
                visit(parent, (*trail, name))
        done[name] = search[name]

    for name in search:
        visit(name, ())
    return done


def recorded_values(space: SearchSpace, config: Mapping[str, Any]) -> dict[str, Value]:
    """Values of the dimensions that are active under them, from a whole config's plain data. What it lacks is left
    out."""
    known = {name: get_dotted(config, ".".join(space.trainer.path_of(name))) for name in space.dimensions}
    return {name: known[name] for name in space.active(known) if known[name] is not None or _takes_none(space, name)}


def _takes_none(space: SearchSpace, name: str) -> bool:
    return None in (space.dimensions[name].choice or ())
