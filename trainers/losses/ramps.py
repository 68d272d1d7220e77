"""Warm-up factors r(it) of consistency losses (methods: section 0)."""

import math


def gaussian_ramp(step: float, *, length: float) -> float:
    """``exp(-5 (1 - step / length)^2)`` before ``length`` steps, then 1; 0.0067 at step 0, and 1 where length is 0.

    Args:
        step: optimiser steps already done.
        length: length of the warm-up in steps.
    """
    if step >= length:
        return 1.0
    return math.exp(-5.0 * (1.0 - step / length) ** 2)


def cosine_ramp(step: float, *, length: float) -> float:
    """``0.5 (1 - cos(pi step / length))`` before ``length`` steps, then 1; 1 where length is 0."""
    if step >= length:
        return 1.0
    return 0.5 * (1 - math.cos(math.pi * step / length))


def warmup_steps(*, fraction: float, epochs: float | None, steps_per_epoch: int, total_steps: int) -> float:
    """Length of a warm-up in steps: ``epochs`` where given, else a share of the whole training."""
    return fraction * total_steps if epochs is None else epochs * steps_per_epoch
