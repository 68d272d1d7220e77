"""One search dimension: what it can take, how a plain generator draws from it, and its scale between 0 and 1."""

import math
import random
from collections.abc import Sequence
from typing import Any

from ipix_tune.config.dimension_config import Dimension
from ipix_tune.trainer.resources import Value


def same(a: object, b: object) -> bool:
    """Equality in which true is not 1, since YAML tells them apart."""
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def contains(dimension: Dimension, value: object) -> bool:
    """Whether the dimension can take this value."""
    if dimension.choice is not None:
        return any(same(value, one) for one in dimension.choice)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    low, high = ends(dimension)
    if not low <= value <= high:
        return False
    if dimension.quniform is not None:
        steps = (value - low) / dimension.quniform[2]
        return math.isclose(steps, round(steps), abs_tol=1e-6)
    return dimension.kind not in ("int", "logint") or value == int(value)


def nearest_value(dimension: Dimension, value: Value) -> Value:
    """A value that the dimension contains, exactly as it gives it itself: a number's type, a step's rounding."""
    if dimension.choice is not None:
        return next(one for one in dimension.choice if same(one, value))
    assert isinstance(value, int | float)
    if dimension.kind in ("int", "logint"):
        return int(value)
    if dimension.quniform is not None:
        low, _, step = dimension.quniform
        return float(f"{low + round((value - low) / step) * step:.12g}")
    return float(value)


def describe_range(dimension: Dimension) -> str:
    """`loguniform [0.01, 10.0]`, for messages."""
    return f"{dimension.kind} {list(getattr(dimension, dimension.kind))}"


def ends(dimension: Dimension) -> tuple[float, float]:
    """Both ends of a range."""
    low, high = getattr(dimension, dimension.kind)[:2]
    return low, high


def end_values(dimension: Dimension) -> tuple[Value, ...]:
    """All choices, or both ends of a range."""
    return dimension.choice if dimension.choice is not None else ends(dimension)


def is_discrete(dimension: Dimension) -> bool:
    """Whether it has finitely many values, so that :func:`every_value` lists them."""
    return dimension.kind not in ("uniform", "loguniform")


def every_value(dimension: Dimension) -> Sequence[Value]:
    """All values of a discrete dimension, in order. Whole numbers of a range are not held: they may be many."""
    if dimension.choice is not None:
        return dimension.choice
    if dimension.quniform is not None:
        low, high, step = dimension.quniform
        return [float(f"{low + k * step:.12g}") for k in range(round((high - low) / step) + 1)]
    low, high = ends(dimension)
    return range(int(low), int(high) + 1)


def to_unit(dimension: Dimension, value: float) -> float:
    """Where a value of a range lies between 0 and 1 on the dimension's own scale (log for log kinds). Each value of a
    stepped range has a cell of its own and lies in the cell's middle."""
    low, high = _scaled_ends(dimension)
    return (_scaled(dimension, value) - low) / (high - low)


def from_unit(dimension: Dimension, unit: float) -> Value:
    """The value of a range at ``unit``; of a stepped range the one whose cell it falls into."""
    low, high = ends(dimension)
    scaled_low, scaled_high = _scaled_ends(dimension)
    scaled = scaled_low + unit * (scaled_high - scaled_low)
    value = math.exp(scaled) if dimension.kind.startswith("log") else scaled
    value = min(max(value, low), high)
    if dimension.kind in ("int", "logint"):
        return round(value)
    if dimension.quniform is not None:
        step = dimension.quniform[2]
        return float(f"{low + round((value - low) / step) * step:.12g}")
    return value


def _scaled(dimension: Dimension, value: float) -> float:
    return math.log(value) if dimension.kind.startswith("log") else value


def _scaled_ends(dimension: Dimension) -> tuple[float, float]:
    low, high = ends(dimension)
    half = dimension.quniform[2] / 2 if dimension.quniform is not None else 0.5 * (dimension.kind in ("int", "logint"))
    return _scaled(dimension, low - half), _scaled(dimension, high + half)


def sample(rng: random.Random, dimension: Dimension, *, corners: bool) -> Value:
    if corners:
        return rng.choice(end_values(dimension))
    if dimension.choice is not None or dimension.quniform is not None:
        return rng.choice(every_value(dimension))
    low, high = ends(dimension)
    if dimension.kind == "int":
        return rng.randint(int(low), int(high))
    if dimension.kind == "uniform":
        return rng.uniform(low, high)
    value = min(max(math.exp(rng.uniform(math.log(low), math.log(high))), low), high)
    return round(value) if dimension.kind == "logint" else value


def describe(dimension: Dimension) -> dict[str, Any]:
    ranged = dimension.choice is None
    return {
        "kind": dimension.kind,
        "low": ends(dimension)[0] if ranged else None,
        "high": ends(dimension)[1] if ranged else None,
        "step": dimension.quniform[2] if dimension.quniform is not None else None,
        "choices": None if ranged else list(dimension.choice or ()),
        "only_if": dimension.only_if,
    }
