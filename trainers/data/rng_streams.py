"""Seeded order: a generator for every purpose, and the passes in which a list is walked.

Every number is drawn from a generator of (seed, stream, pass, image), so that neither loader workers nor the number of
processes change an image.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


class Stream(IntEnum):
    """What a generator is for. Values are part of every run's reproducibility: append, never renumber."""

    LABELLED_ORDER = 0
    UNLABELLED_ORDER = 1
    LABELLED_VIEW = 2
    UNLABELLED_VIEW = 3
    PARTNER_VIEW = 4
    BOXES = 5
    STEP = 6
    PEER = 7
    HEADS = 8
    STAGE = 9
    ASKED = 10
    NOISE = 11


def generator(seed: int, stream: Stream, *index: int) -> np.random.Generator:
    """A generator that depends on its arguments alone."""
    return np.random.default_rng([seed, stream, *index])


@dataclass(frozen=True, kw_only=True)
class Walk:
    """The order in which a list is walked.

    Args:
        length: images in the list.
        stride: how far the next epoch's start lies behind this one's: `length` where an epoch is one pass whose tail
            is dropped, the images of an epoch where each epoch goes on where the last one ended.
    """

    seed: int
    stream: Stream
    length: int
    stride: int

    def at(self, epoch: int, place: int) -> tuple[int, int]:
        """(pass, index in the list) of the image at `place` of the epoch."""
        walked, offset = divmod(epoch * self.stride + place, self.length)
        return walked, int(_permutation(self.seed, self.stream, walked, self.length)[offset])


@lru_cache(maxsize=8)
def _permutation(seed: int, stream: Stream, walked: int, length: int) -> NDArray[np.int64]:
    return generator(seed, stream, walked).permutation(length)
