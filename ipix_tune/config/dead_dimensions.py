"""Searched keys that can change nothing: in the whole space, or under some values of other searched keys.

A dead dimension costs trials that differ in nothing, and dilutes what the study says of the parameter. What depends on
what is the trainer's to say (ours declares it in its fields, `trainers.common.depends_on`); here the space is asked
where that fails, at every combination of the values that the conditions name."""

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ipix_tune.config.dimension import every_value, from_unit, is_discrete, same
from ipix_tune.config.dimension_config import Dimension
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.trainer.interface import Config, SpaceError
from ipix_tune.trainer.resources import Value
from trainers.common.depends_on import shown
from trainers.common.errors import ConfigError

MOST = 4096
"""Combinations that are looked at; of more, so many drawn at random."""
VALUES = 32
"""Values of one dimension that are looked at; of more, the two ends and the middle."""


@dataclass(frozen=True, kw_only=True)
class SeenDimension:
    """A dimension in one combination: the values of what it depends on, and why it is dead there, if it is."""

    values: Mapping[str, Value]
    unmet: str | None


def check_dead_dimensions(space: SearchSpace) -> list[str]:
    """A line for each dimension that is dead under some values, with the condition to add.

    Raises:
        SpaceError: a dimension is dead in the whole space.
    """
    found = []
    for name in space.dimensions:
        look = Look(space=space, name=name)
        dead = [one for one in look.seen if one.unmet is not None]
        if not dead:
            continue
        if look.complete and len(dead) == len(look.seen):
            raise SpaceError(
                f"{name} is searched and has no effect anywhere in this space: {dead[0].unmet}; "
                "remove the dimension, or change that",
                path=("search", name),
            )
        found.append(_warning(look, dead))
    return found


def dead_fixed_keys(space: SearchSpace, names: Sequence[str]) -> list[str]:
    """A line for each of these keys of `trainer` that has no effect anywhere in the space."""
    found = []
    for name in names:
        seen = Look(space=space, name=name).seen
        if seen and all(one.unmet is not None for one in seen):
            found.append(f"trainer.{name} has no effect: {seen[0].unmet}")
    return found


def _warning(look: "Look", dead: Sequence[SeenDimension]) -> str:
    condition = look.condition()
    start = f"search.{look.name} has no effect where {_and(_telling(look, dead))}"
    if condition:
        return f"{start}: add only_if: {{{', '.join(f'{key}: {_flow(values)}' for key, values in condition.items())}}}"
    return f"{start}: {dead[0].unmet}; no only_if can say so, so drop one of these values"


def _telling(look: "Look", dead: Sequence[SeenDimension]) -> dict[str, list[Value]]:
    """What all these combinations, and not all others, have in common."""
    found: dict[str, list[Value]] = {}
    for key in look.parents:
        here, anywhere = _values_of(key, dead), _values_of(key, look.seen)
        if here and len(here) < len(anywhere):
            found[key] = here
    return found or {key: value if isinstance(value, list) else [value] for key, value in dead[0].values.items()}


def _values_of(key: str, seen: Sequence[SeenDimension]) -> list[Value]:
    found: list[Value] = []
    for one in seen:
        if key in one.values and not any(same(one.values[key], other) for other in found):
            found.append(one.values[key])
    return found


@dataclass(frozen=True, kw_only=True)
class Look:
    """One key, searched or fixed, at every combination of the searched keys that it depends on."""

    space: SearchSpace
    name: str

    @cached_property
    def parents(self) -> tuple[str, ...]:
        """The searched keys that decide whether the key is active, and whether it then has an effect."""
        dimensions = self.space.dimensions
        found: list[str] = []
        wanted = {"method.name", *self._only_if(self.name)}
        while True:
            found += [key for key in dimensions if key in wanted and key not in (*found, self.name)]
            more = {key for parent in found for key in self._only_if(parent)}
            more |= {
                key for _, config in self._active(found) for key in self.space.trainer.depends_on(config, self.name)
            }
            if not (more - wanted) & set(dimensions):
                return tuple(found)
            wanted |= more

    def _only_if(self, name: str) -> Mapping[str, Any]:
        searched = self.space.dimensions.get(name)
        return (searched.only_if if searched is not None else None) or {}

    @cached_property
    def complete(self) -> bool:
        """Whether all combinations are looked at."""
        sizes = [len(_some_values(self.space.dimensions[key])) for key in self.parents]
        whole = 1
        for size in sizes:
            whole *= size
        return whole <= MOST

    @cached_property
    def seen(self) -> list[SeenDimension]:
        found = []
        for values, config in self._active(self.parents):
            unmet = self.space.trainer.dead_keys(config).get(self.name)
            found.append(SeenDimension(values={key: values[key] for key in self.parents if key in values}, unmet=unmet))
        return found

    def condition(self) -> dict[str, list[Value]]:
        """The `only_if` under which the dimension is never dead and loses nothing; empty where there is none."""
        live = [one for one in self.seen if one.unmet is None]
        found: dict[str, list[Value]] = dict(_as_lists(self._only_if(self.name)))
        for key in self.parents:
            allowed, anywhere = _values_of(key, live), _values_of(key, self.seen)
            always = all(key in one.values for one in live)
            if is_discrete(self.space.dimensions[key]) and always and 0 < len(allowed) < len(anywhere):
                found[key] = allowed

        def holds(one: SeenDimension) -> bool:
            return all(
                key not in self.space.dimensions or any(same(one.values.get(key), value) for value in allowed)
                for key, allowed in found.items()
            )

        return {} if any(one.unmet is not None and holds(one) for one in self.seen) else found

    def _active(self, parents: Sequence[str]) -> Iterator[tuple[dict[str, Value], Config]]:
        """Combinations of the parents' values in which the key is active, all else at its first value."""
        first = {key: _some_values(dimension)[0] for key, dimension in self.space.dimensions.items()}
        for combination in _combinations([_some_values(self.space.dimensions[key]) for key in parents]):
            values = {**first, **dict(zip(parents, combination, strict=True))}
            values = {key: values[key] for key in self.space.active(values)}
            active = self.name in values or self.name not in self.space.dimensions
            if active and (config := _config(self.space, values)) is not None:
                yield values, config


def _config(space: SearchSpace, values: Mapping[str, Value]) -> Config | None:
    """The config, or None where the trainer refuses it: whoever checks the study says why."""
    try:
        return space.to_config(values)
    except ConfigError:
        return None


def _some_values(dimension: Dimension) -> list[Value]:
    """All values of a short list; both ends and the middle of a long one; of a range the middle alone, since an end may
    be the one value, met with probability 0, that switches something off."""
    if not is_discrete(dimension):
        return [from_unit(dimension, 0.5)]
    every = every_value(dimension)
    return list(every) if len(every) <= VALUES else [every[len(every) // 2], every[0], every[-1]]


def _combinations(choices: Sequence[Sequence[Value]]) -> Iterator[tuple[Value, ...]]:
    whole = 1
    for one in choices:
        whole *= len(one)
    if whole <= MOST:
        yield from itertools.product(*choices)
        return
    rng = random.Random(0)
    for _ in range(MOST):
        yield tuple(rng.choice(one) for one in choices)


def _listed(parts: Sequence[str]) -> str:
    return " and ".join(parts)


def _and(values: Mapping[str, Sequence[Value]]) -> str:
    return _listed([f"{key} is {' or '.join(map(shown, every))}" for key, every in values.items()])


def _flow(values: Sequence[Value]) -> str:
    """A value or a list, as YAML writes it on one line."""
    return shown(values[0]) if len(values) == 1 else f"[{', '.join(map(shown, values))}]"


def _as_lists(given: Mapping[str, Any]) -> Iterator[tuple[str, list[Value]]]:
    for key, value in given.items():
        yield key, list(value) if isinstance(value, list) else [value]
