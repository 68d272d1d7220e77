"""Which pixels of the unlabelled images keep their label: of each class the surest ones, a share that grows from stage
to stage (methods: section 25.1)."""

import torch
from torch import Tensor

from trainers.interface.method import Gather

STEPS, MOST = 2048, 24
"""Confidence is told apart in steps of a 2048th of a halving of the doubt 1 - p, down to a doubt of 2^-24."""
LEVELS = STEPS * MOST + 1


def sureness(confidence: Tensor) -> Tensor:
    """Confidences 0 .. 1 as whole numbers from 0 to `LEVELS` - 1, in the same order."""
    doubt = (1 - confidence).clamp(2.0**-MOST, 1.0)
    return (-doubt.log2() * STEPS).long()


class ClassQuantiles:
    """Counts the pixels of each class by their confidence. Its memory does not depend on how many images it sees."""

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.counts = torch.zeros(num_classes, LEVELS, dtype=torch.int64)

    def see(self, confidence: Tensor, label: Tensor) -> None:
        """Pixels (...) with their classes."""
        level = label.flatten() * LEVELS + sureness(confidence.flatten())
        found = torch.bincount(level, minlength=self.num_classes * LEVELS)
        self.counts = self.counts.to(found.device) + found.view(self.num_classes, LEVELS)

    def lowest(self, share: float, gather: Gather) -> Tensor:
        """The :func:`sureness` (C,) that the surest ``share`` of the pixels of each class have, at least, over all
        processes: as many as that, and those that are as sure as the last of them."""
        counts = gather(self.counts[None]).sum(dim=0)
        at_least = counts.flip(1).cumsum(dim=1).flip(1)
        wanted = (share * counts.sum(dim=1).double() - 1e-6).ceil()
        return (at_least >= wanted[:, None]).sum(dim=1) - 1


def ratios(first: float, count: int) -> tuple[float, ...]:
    """Shares of the pixels that are labelled before each of ``count`` trainings, from ``first`` to 1 in equal steps; of
    one training 1."""
    return tuple(1.0 if count == 1 else first + (1 - first) * number / (count - 1) for number in range(count))
