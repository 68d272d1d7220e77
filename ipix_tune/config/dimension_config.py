"""The study file's `search` section: one dimension, its range or choices, condition and prior."""

import builtins
from decimal import Decimal
from typing import Annotated, Self

from pydantic import Field, model_validator

from ipix_tune.trainer.resources import Value
from trainers.common.section import Section

MOST_STEPS = 10_000
"""Most steps of a quniform dimension: all its values are listed, in plans and for grids."""
LARGEST = 2**53
"""Largest whole number of a search; above it a float has none of its own for each."""
KINDS = ("uniform", "loguniform", "quniform", "int", "logint", "choice")


class Prior(Section):
    """What is believed of one dimension before the study: where its good values lie, and how sure that is."""

    center: Value
    """The value believed best."""
    spread: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of a range: the standard deviation as a fraction of the range, on its own scale; default 0.2. Of a choice: how
    often all values are drawn evenly instead of the center taken; default 0.5."""


class Dimension(Section):
    """One search dimension: exactly one kind, and optionally a condition and a prior."""

    uniform: tuple[float, float] | None = None
    """[low, high]"""
    loguniform: tuple[float, float] | None = None
    """[low, high], both above 0"""
    quniform: tuple[float, float, float] | None = None
    """[low, high, step]"""
    int: tuple[builtins.int, builtins.int] | None = None
    """[low, high], both ends included"""
    logint: tuple[builtins.int, builtins.int] | None = None
    """[low, high], both ends included, low above 0"""
    choice: tuple[Value, ...] | None = None
    """the values to choose from"""
    only_if: dict[str, Value | list[Value]] | None = None
    """Searched only where these other keys (searched or fixed) have this value, or one of these values."""
    prior: Prior | None = None
    """What is believed of it before the study; the sampler tpe uses it."""

    @property
    def kind(self) -> str:
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @model_validator(mode="after")
    def _one_kind_in_range(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(KINDS)}; got {', '.join(given) or 'none'}")
        kind, value = given[0], getattr(self, given[0])
        if kind == "choice":
            if not value:
                raise ValueError("choice is empty; list at least one value")
            if len(set(map(repr, value))) < len(value):
                raise ValueError(f"choice lists a value twice: {list(value)}")
            return self
        low, high = value[0], value[1]
        if low >= high:
            raise ValueError(f"{kind} [{low}, {high}] is empty: low must be below high")
        if kind.startswith("log") and low <= 0:
            raise ValueError(f"{kind} [{low}, {high}] passes through 0: low must be above 0")
        if kind in ("int", "logint") and max(-low, high) > LARGEST:
            raise ValueError(f"{kind} [{low}, {high}]: whole numbers lie within -2^53 and 2^53")
        if kind == "quniform":
            _check_step(low, high, value[2])
        return self

    @model_validator(mode="after")
    def _conditions_can_hold(self) -> Self:
        if self.only_if is not None and (not self.only_if or [] in self.only_if.values()):
            raise ValueError("only_if is empty; name a key and the value, or values, under which this is searched")
        return self


def _check_step(low: float, high: float, step: float) -> None:
    """Decimal arithmetic, as YAML's numbers are decimal: 0.1 divides 0.7."""
    if step <= 0:
        raise ValueError(f"quniform step is {step}; it must be above 0")
    if (count := (high - low) / step) > MOST_STEPS + 0.5:
        raise ValueError(
            f"quniform [{low}, {high}, {step}] has {count:.0f} steps, and {MOST_STEPS} are the most: no study tells "
            "neighbours among so many apart. Give a larger step, or uniform"
        )
    steps = (Decimal(str(high)) - Decimal(str(low))) // Decimal(str(step))
    reached = Decimal(str(low)) + steps * Decimal(str(step))
    if reached != Decimal(str(high)):
        raise ValueError(
            f"quniform [{low}, {high}, {step}] does not reach {high}; the last value below it is {reached}"
        )
