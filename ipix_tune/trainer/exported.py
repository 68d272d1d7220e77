"""What a trainer makes of a config that a study exports."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from trainers.common.errors import UserError

SEEDS = 3
"""Of a final recipe, unless it is asked for others."""


class RecipeError(UserError):
    """The final recipe that was asked for cannot be made."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to train last.

    Args:
        config: of the first seed.
        seeds: fresh ones, above all that search and confirmation used.
        held_out: in words, what becomes of held-out images and why.
        expected: what to expect of the runs, in words, a line each.
        facts: the same for the provenance.
    """

    config: BaseModel
    seeds: tuple[int, ...]
    held_out: str
    expected: tuple[str, ...]
    facts: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ExportedConfig:
    """A config as it is written, without its provenance.

    Args:
        config: it.
        final: its run is scored on a validation list at its end.
        has_val: there is such a list, or what there is is not known.
        lines: what its file says of it beside how far to trust it.
    """

    config: BaseModel
    final: bool
    has_val: bool
    lines: Sequence[str] = field(default_factory=tuple)
