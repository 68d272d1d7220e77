"""The search space of a study: dotted names of training config leaves, in an order where conditions come first.

Optuna's parameter names are the dotted names. A dimension whose `only_if` does not hold is inactive: it is neither
suggested nor set, and the training config's own value stands.
"""

import copy
import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ipix_tune.config import dimension as dimensions
from ipix_tune.config.study_config import Dimension, StudyConfig, Value
from ipix_tune.config.train_keys import canonical, get_dotted, method_keys
from trainers.common.errors import ConfigError, did_you_mean
from trainers.common.yaml_file import set_dotted, validate
from trainers.config import TrainConfig
from trainers.dead_keys import without_refused

if TYPE_CHECKING:
    import optuna

_MISSING = object()


class SpaceError(ConfigError):
    """A search space or point that cannot be used; `path` says where in the study file it stands."""

    def __init__(self, message: str, *, path: tuple[str | int, ...]) -> None:
        super().__init__(message)
        self.path = path


class SearchSpace:
    """What a study searches, checked for order only; `ipix_tune.config.validate_space` checks it against the training
    config."""

    def __init__(self, study: StudyConfig) -> None:
        self.trainer = study.trainer
        self.dimensions: dict[str, Dimension] = _parents_first(study.search)

    def suggest(self, trial: "optuna.Trial") -> dict[str, Value]:
        """Active leaves and their values, asked of Optuna one after the other (define by run)."""
        return self.draw(lambda name, dimension: dimensions.suggest(trial, name, dimension))

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
        """The value of ``key`` in the study's `trainer` section, as the training config reads it; a marker that
        equals nothing where it is not given."""
        value = get_dotted(self.trainer, key, _MISSING)
        return value if value is _MISSING else canonical(key, value)

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
        point = {name: canonical(name, value) for name, value in values.items()}
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

    def to_config(self, values: Mapping[str, Value]) -> TrainConfig:
        """The training config of one trial.

        Where `method.name` is searched, keys of `trainer.method` that belong to another of the searched methods
        and that the chosen one does not have are left out; a key that none of them has is an error. Likewise a key of
        `trainer` that is refused under a searched value: `interpixel.t2_scale` under `interpixel.distance: cr`.

        Raises:
            ConfigError: the training config refuses the values.
        """
        named = ", ".join(f"{name}={value}" for name, value in values.items())
        return validate(TrainConfig, self.to_data(values), source=f"trial ({named})", lines={})

    def to_data(self, values: Mapping[str, Value]) -> dict[str, Any]:
        """The same as plain data, not yet validated."""
        data = copy.deepcopy(self.trainer)
        for name, value in values.items():
            set_dotted(data, name, value)
        if "method.name" in values and isinstance(data.get("method"), dict):
            given = (get_dotted(self.trainer, "method.name"),)
            searched = self.dimensions.get("method.name")
            _drop_keys_of_other_methods(
                data["method"], given if searched is None else searched.choice or (), self.trainer
            )
        without_refused(data, values)
        return data

    def describe(self) -> dict[str, dict[str, Any]]:
        """Every dimension as `analysis.columns` has it under `space`; what does not apply is None."""
        return {name: dimensions.describe(dimension) for name, dimension in self.dimensions.items()}

    def fixed_distributions(self) -> "dict[str, optuna.distributions.BaseDistribution]":
        """Optuna's distribution of every dimension, active or not."""
        return {name: dimensions.distribution(dimension) for name, dimension in self.dimensions.items()}

    def grid(self) -> dict[str, list[Value]]:
        """Every value of every dimension, for a grid search.

        Raises:
            SpaceError: a dimension is continuous and so has no grid.
        """
        for name, dimension in self.dimensions.items():
            if not dimensions.is_discrete(dimension):
                raise SpaceError(
                    f"{name} is continuous ({dimensions.describe_range(dimension)}), and a grid needs values: use "
                    "quniform [low, high, step], int or choice, or another sampler",
                    path=("search", name),
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


def _conditions(dimension: Dimension) -> str:
    return " and ".join(f"{key} is {wanted!r}" for key, wanted in (dimension.only_if or {}).items())


def _drop_keys_of_other_methods(method: dict[str, Any], names: Iterable[Value], trainer: Mapping[str, Any]) -> None:
    """Those of the methods of these names that the chosen one does not have."""
    known = method_keys()
    own = known.get(str(method.get("name")))
    if own is None:
        return
    others = set(itertools.chain.from_iterable(known.get(str(name), ()) for name in names))
    for key in trainer.get("method") or {}:
        if key not in own and key in others:
            del method[key]


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
    """Values of the dimensions that are active under them, from a whole training config; what it lacks is left out."""
    known = {name: get_dotted(config, name) for name in space.dimensions}
    return {name: known[name] for name in space.active(known) if known[name] is not None or _takes_none(space, name)}


def _takes_none(space: SearchSpace, name: str) -> bool:
    return None in (space.dimensions[name].choice or ())
