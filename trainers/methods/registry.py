"""The registry of methods: one line of import, one entry in the union, one in `BUILDERS`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from torch import nn

from trainers.methods.base import Method
from trainers.methods.fixmatch import FixMatch, FixMatchConfig
from trainers.methods.supervised import Supervised, SupervisedConfig
from trainers.methods.unimatch import UniMatch, UniMatchConfig

if TYPE_CHECKING:
    from trainers.config import InterPixelConfig

MethodConfig = Annotated[SupervisedConfig | FixMatchConfig | UniMatchConfig, Field(discriminator="name")]

BUILDERS: dict[str, Any] = {"supervised": Supervised, "fixmatch": FixMatch, "unimatch": UniMatch}


def build_method(config: MethodConfig, *, student: nn.Module, interpixel: InterPixelConfig) -> Method:
    """The method that ``config`` names. It offers pairs for the inter-pixel loss only where alpha is above 0."""
    method: Method = BUILDERS[config.name](
        config, student=student, pairs=interpixel.alpha > 0, feature_pairs=interpixel.views == "s1s2fp"
    )
    return method
