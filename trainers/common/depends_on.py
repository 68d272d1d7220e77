"""What a config field depends on: declared on the field itself, read by the validator of studies and by the schema.

    ema_decay: Annotated[float, Field(ge=0, lt=1), OnlyIf({"teacher": "ema"})] = 0.996

A key without a dot belongs to the field's own section; others are dotted names from the config's top.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Plain = float | str | bool | None


@dataclass(frozen=True)
class Above:
    """Every number above ``low``."""

    low: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and value > self.low


Allowed = Plain | tuple[Plain, ...] | Above
Alternative = Mapping[str, Allowed]


class OnlyIf:
    """Metadata of a field that has an effect only where one of these alternatives holds; without any, it has none.

    Several marks on one field must all hold.

    Args:
        alternatives: each maps keys to the value, the values (a tuple), or the range that the key must have.
        refused: the config refuses another value than the default where none holds, instead of passing it over.
    """

    def __init__(self, *alternatives: Alternative, refused: bool = False) -> None:
        self.alternatives = alternatives
        self.refused = refused

    @property
    def named(self) -> frozenset[str]:
        """Every key that it names."""
        return frozenset(key for alternative in self.alternatives for key in alternative)

    def within(self, prefix: str) -> "OnlyIf":
        """The same with dotted names from the top, for a field of the section ``prefix`` ("method.", or "")."""
        return OnlyIf(
            *({key if "." in key else prefix + key: want for key, want in one.items()} for one in self.alternatives),
            refused=self.refused,
        )

    def __str__(self) -> str:
        """`method.teacher is ema`, for messages and descriptions."""
        return ", or ".join(
            " and ".join(f"{key} is {described(allowed)}" for key, allowed in one.items()) for one in self.alternatives
        )


def allows(allowed: Allowed, value: Any) -> bool:
    """Whether a key's value is allowed; true is not 1."""
    if isinstance(allowed, Above):
        return value in allowed
    every = allowed if isinstance(allowed, tuple) else (allowed,)
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in every)


def described(allowed: Allowed) -> str:
    """`above 0`, `ema`, `a or b`, as YAML spells values."""
    if isinstance(allowed, Above):
        return f"above {allowed.low:g}"
    every = allowed if isinstance(allowed, tuple) else (allowed,)
    return " or ".join(shown(one) for one in every)


def shown(value: object) -> str:
    """A value as YAML spells it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
