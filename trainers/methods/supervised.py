"""Supervised-only: the lower line that every other method must beat (methods: section 4)."""

from typing import Annotated, Literal

from pydantic import Field

from trainers.schema import Section


class OhemConfig(Section):
    """Online hard example mining for the supervised loss (methods: section 0)."""

    thresh: Annotated[float, Field(gt=0, le=1)] = 0.7
    min_kept: Annotated[int, Field(ge=1)] = 200000
    """Pixels kept at least, per process."""


class SupervisedConfig(Section):
    """Supervised-only."""

    name: Literal["supervised"]
    ohem: OhemConfig | None = None
    """Mine hard pixels in the supervised loss (Cityscapes); none: plain cross-entropy."""
