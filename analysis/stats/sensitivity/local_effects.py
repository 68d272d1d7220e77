"""Round one configuration, by the surrogate: what matters there, what tuning one parameter alone would gain, the way to
it, and what a step aside costs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.stats.sensitivity.anova_basis import Axis, Floats
from analysis.stats.sensitivity.effects import active, summary
from analysis.stats.sensitivity.sobol import Share, share
from analysis.stats.sensitivity.surrogate import Surrogate

FACTOR, TENTH = 2.0, 0.1


@dataclass(frozen=True, kw_only=True)
class LocalStep:
    """A parameter set to the leading configuration's value, and the score's gain since the start."""

    name: str
    before: Any
    after: Any
    gain: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The value at which one parameter alone is expected to gain most, and the score's change there (positive: better
    for a score of which more is better)."""

    name: str
    before: Any
    after: Any
    gain: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Move:
    """A parameter of the leading configuration at another value, and the score's change (negative: worse for a score
    of which more is better). ``cut``: the step ended at the range's end."""

    name: str
    value: Any
    cut: bool
    change: tuple[float, float, float]


def local(surrogate: Surrogate, best: Mapping[str, Any]) -> dict[str, Share]:
    """Local importance (Biedenkapp et al. 2018): the variance of the score as one parameter takes all its values and
    the others stay, as a share of the sum of these variances. Largest first."""
    spans = {}
    for axis in surrogate.basis.axes:
        if axis.name not in best:
            continue
        scores = surrogate.at(
            [active(surrogate.basis, {**best, axis.name: axis.value(place)}) for place in _spread(axis)]
        )
        spans[axis.name] = scores.var(axis=1)
    total = sum(spans.values(), np.zeros(len(surrogate.weights)))
    found = {name: share(span / np.where(total > 0, total, 1.0)) for name, span in spans.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1].value))


def _spread(axis: Axis) -> Floats:
    if axis.choices is not None:
        return np.arange(len(axis.choices), dtype=float)
    return (np.arange(24) + 0.5) / 24 if axis.cells is None else axis.cells[0]


def _to_the_ends(axis: Axis) -> Floats:
    return np.linspace(0, 1, 25) if axis.choices is None and axis.cells is None else _spread(axis)


def tunability(surrogate: Surrogate, start: Mapping[str, Any]) -> list[Tuned]:
    """What is gained when one parameter takes its best value and the others stay as in ``start`` (Probst et al. 2019).
    Largest first.

    The best value is the one of the surrogate's mean, of values spread evenly over the axis and of the start's own; the
    interval is that of the score's change at this value. A parameter that ``start`` does not have active is left out,
    and one that a choice switches on counts at its average.
    """
    basis, sign = surrogate.basis, surrogate.study.sign
    here = active(basis, start)
    begin = surrogate.at([here])[:, 0]
    found = []
    for axis in basis.axes:
        if axis.name not in here:
            continue
        values = [here[axis.name], *(axis.value(place) for place in _to_the_ends(axis))]
        scores = surrogate.at([active(basis, {**here, axis.name: value}) for value in values])
        best = int(np.argmax(sign * scores.mean(axis=0)))
        gain = summary(scores[:, best] - begin)
        found.append(Tuned(name=axis.name, before=here[axis.name], after=values[best], gain=gain))
    return sorted(found, key=lambda one: -sign * one.gain[0])


def ablation(surrogate: Surrogate, start: Mapping[str, Any], best: Mapping[str, Any]) -> list[LocalStep]:
    """The path from one configuration to another (Fawcett and Hoos 2016), greedy on the surrogate's mean: next comes
    the parameter whose change gains most. A parameter that is not active yet waits for what switches it on."""
    basis, sign = surrogate.basis, surrogate.study.sign
    here = active(basis, start)
    begin = surrogate.at([here])[:, 0]
    left = [name for name in basis.names if name in best and not _alike(here.get(name), best[name])]
    path = []
    while left:
        able = [name for name in left if name in active(basis, {**here, name: best[name]})] or left
        tried = [active(basis, {**here, name: best[name]}) for name in able]
        scores = surrogate.at(tried)
        chosen = int(np.argmax(sign * scores.mean(axis=0)))
        name = able[chosen]
        path.append(
            LocalStep(name=name, before=here.get(name), after=best[name], gain=summary(scores[:, chosen] - begin))
        )
        here = tried[chosen]
        left.remove(name)
    return path


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9)
    return bool(one == other)


def robustness(surrogate: Surrogate, best: Mapping[str, Any]) -> list[Move]:
    """What is lost when a parameter is off by a factor of `FACTOR` either way (log ranges) or by `TENTH` of its range
    (others). Choices are not moved: `analysis.stats.sensitivity.effects.choices` has them."""
    basis = surrogate.basis
    here = surrogate.at([active(basis, best)])[:, 0]
    found = []
    for axis in basis.axes:
        if axis.name not in best or axis.choices is not None:
            continue
        for value, cut in _aside(axis, best[axis.name]):
            change = surrogate.at([active(basis, {**best, axis.name: value})])[:, 0] - here
            found.append(Move(name=axis.name, value=value, cut=cut, change=summary(change)))
    return found


def _aside(axis: Axis, value: float) -> Sequence[tuple[Any, bool]]:
    low, high = axis.dimension["low"], axis.dimension["high"]
    step = TENTH * (high - low)
    wanted = (value / FACTOR, value * FACTOR) if axis.log else (value - step, value + step)
    found = []
    for one in wanted:
        kept = min(max(one, low), high)
        moved = axis.value(axis.unit(kept))
        if not _alike(moved, value):
            found.append((moved, kept != one))
    return found
