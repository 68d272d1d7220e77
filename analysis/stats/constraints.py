"""Hard constraints on metrics: whether a run breaks one, by how much, and how that is said. The one rule that trials,
record, live table, report and confirmation share. Stdlib only."""

import math
from collections.abc import Mapping
from typing import Any

Bounds = Mapping[str, Mapping[str, Any]]
"""By metric: `min`, `max` (either may be none or missing), and `at_end`, whether the last epoch alone counts."""

MOST = 1e6
"""An excess is not told as larger than this, as that of an infinite value would be."""


def excess(bound: Mapping[str, Any], value: float) -> float:
    """By how much a value lies beyond its bounds, as a share of the bound (of 1 where that is 0); 0 or below where it
    lies within."""
    found = [-MOST]
    for limit, sign in ((bound.get("max"), 1), (bound.get("min"), -1)):
        if limit is not None:
            found.append(sign * (value - limit) / (abs(limit) or 1.0))
    return min(max(found), MOST)


def measured(bounds: Bounds, metrics: Mapping[str, float], *, last: bool) -> dict[str, float]:
    """The values of the constrained metrics after an epoch, as far as they count; one that is no number does not.

    Args:
        last: it is the last epoch of the full length.
    """
    counts = [name for name, bound in bounds.items() if last or not bound.get("at_end")]
    values = {name: metrics[name] for name in counts if name in metrics}
    return {name: value for name, value in values.items() if not math.isnan(value)}


def broken(bounds: Bounds, values: Mapping[str, float]) -> dict[str, float]:
    """Those of the values that break their constraint."""
    return {name: value for name, value in values.items() if name in bounds and excess(bounds[name], value) > 0}


def worse(bounds: Bounds, known: Mapping[str, float], values: Mapping[str, float]) -> dict[str, float]:
    """Of every metric that value, the known one or the new one, which is nearest to breaking its constraint or breaks
    it most."""
    both = {name: [one[name] for one in (known, values) if name in one] for name in {**known, **values}}
    return {name: max(of, key=lambda value: excess(bounds[name], value)) for name, of in both.items() if name in bounds}


def said(bounds: Bounds, values: Mapping[str, float]) -> str:
    """Such as: memory/peak_mib is 23,010, at most 22,000 is allowed."""
    return "; ".join(f"{name} is {number(value)}, {allowed(bounds[name])}" for name, value in values.items())


def allowed(bound: Mapping[str, Any]) -> str:
    """Such as: at most 22,000 is allowed."""
    low, high = bound.get("min"), bound.get("max")
    if low is not None and high is not None:
        return f"{number(low)} to {number(high)} is allowed"
    return f"at most {number(high)} is allowed" if high is not None else f"at least {number(low or 0.0)} is allowed"


def number(value: float) -> str:
    """With the digits that tell it from a bound nearby."""
    return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}" if math.isfinite(value) else str(value)
