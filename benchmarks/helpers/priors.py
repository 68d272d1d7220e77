"""An expert's priors for `benchmarks.search_quality`: a good one and a misleading one."""

import random
from collections.abc import Mapping

from benchmarks.helpers.search_problems import study_of
from benchmarks.helpers.trained_curves import TrainedCurves, known
from ipix_tune.config.dimension import every_value, from_unit, to_unit
from ipix_tune.config.dimension_config import Dimension, Prior
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.study.simulation.curve import Curves
from ipix_tune.trainer.resources import Value

KNOWN = 1000
"""Configurations, drawn evenly, of which the good prior knows the best and the misleading one the worst, where curves
are formulas; of real trainings `benchmarks.helpers.trained_curves` says what is known."""
SLIP = 0.1
"""Standard deviation of the good prior's error, as a share of a range; also the chance of a wrong choice."""


def with_prior(
    curves: Curves, search: Mapping[str, Dimension], *, good: bool, rng: random.Random
) -> dict[str, Dimension]:
    """The space with a prior on every dimension: the center is the best of the configurations that an expert knows,
    with an error, or the worst of them. A dimension that is inactive there gets a center at random."""
    chosen = _known(curves, search, rng)[-1 if good else 0]
    centers: dict[str, Value] = {}
    for name, dimension in search.items():
        center = chosen[name] if name in chosen else value_of(dimension, rng)
        centers[name] = slipped(dimension, center, rng) if good else center
    return {
        name: dimension.model_copy(update={"prior": Prior(center=centers[name])}) for name, dimension in search.items()
    }


def _known(curves: Curves, search: Mapping[str, Dimension], rng: random.Random) -> list[dict[str, Value]]:
    """Configurations, the worst first."""
    if isinstance(curves, TrainedCurves):
        return known(curves.family, curves.name)
    space = SearchSpace(study_of(search, sampler="tpe", scheduler="none", trials=1, seed=0))
    drawn = [space.sample(rng) for _ in range(KNOWN)]
    return sorted(drawn, key=lambda values: curves.curve(values).scores[-1] or 0.0)


def value_of(dimension: Dimension, rng: random.Random) -> Value:
    """One value of a dimension whatever its condition."""
    if dimension.choice is not None:
        return rng.choice(dimension.choice)
    return from_unit(dimension, rng.random())


def slipped(dimension: Dimension, value: Value, rng: random.Random) -> Value:
    """The value with an expert's error."""
    if dimension.choice is not None:
        return rng.choice(list(every_value(dimension))) if rng.random() < SLIP else value
    assert isinstance(value, int | float)
    return from_unit(dimension, min(max(to_unit(dimension, value) + rng.gauss(0, SLIP), 0.0), 1.0))
