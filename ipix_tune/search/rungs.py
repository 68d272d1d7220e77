"""At which epochs the scheduler decides, and how many epochs a search is expected to take."""

import math
from collections.abc import Sequence

from ipix_tune.config.study_config import StudyConfig


def rungs(study: StudyConfig, *, max_epochs: int) -> tuple[int, ...]:
    """Epochs at which the scheduler decides: grace * reduction^k up to the full length; empty without a scheduler."""
    if study.scheduler.name == "none":
        return ()
    found = []
    rung = study.scheduler.grace_epochs
    while rung <= max_epochs:
        found.append(rung)
        rung *= study.scheduler.reduction
    return tuple(found)


def passing(arrivals: float, *, reduction: int) -> float:
    """Trials expected to pass a rung that ``arrivals`` trials reach one after the other, in an order that has
    nothing to do with their scores.

    The first always passes. A later one passes if it is not below the (1 - 1/reduction) quantile of the n before it,
    whose expected rank among n + 1 (uniform scores, linear interpolation) gives
    P = 1 - ((1 - 1/reduction)(n - 1) + 1) / (n + 1). This tends to 1/reduction from above.
    """
    quantile = 1 - 1 / reduction

    def chance(n: int) -> float:
        return 1.0 if n == 0 else 1 - (quantile * (n - 1) + 1) / (n + 1)

    whole = math.floor(arrivals)
    return sum(chance(n) for n in range(whole)) + (arrivals - whole) * chance(whole)


def expected_epochs(trials: int, *, rungs: Sequence[int], max_epochs: int, reduction: int) -> float:
    """Sum over the stretches between rungs of their length times the trials expected on them (see `passing`)."""
    total, running, start = 0.0, float(trials), 0
    for rung in (*(rung for rung in rungs if rung < max_epochs), max_epochs):
        total += running * (rung - start)
        running, start = passing(running, reduction=reduction), rung
    return total
