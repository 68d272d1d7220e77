"""A learning curve, and what gives one to each configuration."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ipix_tune.config.dimension_config import Dimension
from ipix_tune.trainer.resources import Value
from trainers.common.errors import UserError

JITTER = 0.004
"""Standard deviation of an epoch's error around its curve, of curves that are made up."""


class CurvesError(UserError):
    """There are no such curves, or they do not fit the study."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Scores by epoch, the first epoch's first; None where an epoch is not scored."""

    scores: Sequence[float | None]
    seconds: float
    """Seconds that one epoch takes."""


class Curves(Protocol):
    """A source of curves, all of the same number of epochs."""

    @property
    def search(self) -> dict[str, Dimension] | None:
        """The source's own search space; None: it answers the study's."""

    def curve(self, values: Mapping[str, Value]) -> Curve:
        """The curve of one configuration."""


def as_scores(errors: np.ndarray, *, maximize: bool) -> list[float]:
    """Errors (0 to 1) as scores in percent: accuracy where more is better, else the error."""
    return [float(one) for one in (100 * (1 - errors) if maximize else 100 * errors)]


def digest(values: Mapping[str, Value]) -> int:
    """A number that a configuration always has."""
    return zlib.crc32(repr(sorted(values.items())).encode())
