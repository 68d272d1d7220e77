"""At which epochs the scheduler decides, for which trials, and how many epochs a search is expected to take."""

import math
from collections.abc import Sequence
from functools import cache

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


def ladder(study: StudyConfig, *, max_epochs: int) -> tuple[int, ...]:
    """Epochs at which curves are compared, whether or not a scheduler decides there: grace * reduction^k below the full
    length, and the full length."""
    found = []
    rung = study.scheduler.grace_epochs
    while rung < max_epochs:
        found.append(rung)
        rung *= study.scheduler.reduction
    return (*found, max_epochs)


def bracket_shares(brackets: int, *, reduction: int) -> tuple[float, ...]:
    """The share of all trials that each bracket has. A trial of bracket b is judged from the (b + 1)-th rung on.

    Hyperband gives all brackets about the same budget (Li et al. 2018, algorithm 1, with s = B - 1 - b): of B brackets
    bracket b has trials in proportion to reduction^-b / (B - b).
    """
    found = [float(reduction) ** -one / (brackets - one) for one in range(brackets)]
    return tuple(one / sum(found) for one in found)


def bracket_of(number: int, *, brackets: int, reduction: int) -> int:
    """The bracket of the trial with that number. The next trial goes to the bracket that is furthest behind its share.
    The number alone decides, so that a study that is resumed goes on as it began."""
    given, found = _taken(brackets, reduction)
    shares = bracket_shares(brackets, reduction=reduction)
    while len(found) <= number:
        behind = [share * (len(found) + 1) - count for share, count in zip(shares, given, strict=True)]
        found.append(behind.index(max(behind)))
        given[found[-1]] += 1
    return found[number]


@cache
def _taken(brackets: int, reduction: int) -> tuple[list[int], list[int]]:
    """What `bracket_of` has found so far: how many trials each bracket has, and the brackets of the first trials."""
    return [0] * brackets, []


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


def expected_epochs(trials: int, *, rungs: Sequence[int], max_epochs: int, reduction: int, brackets: int = 1) -> float:
    """Sum over the stretches between rungs of their length times the trials expected on them (see `passing`). Brackets
    are counted each by itself, though they share their rungs."""
    return sum(
        _expected_epochs(trials * share, rungs=rungs[bracket:], max_epochs=max_epochs, reduction=reduction)
        for bracket, share in enumerate(bracket_shares(brackets, reduction=reduction))
    )


def _expected_epochs(trials: float, *, rungs: Sequence[int], max_epochs: int, reduction: int) -> float:
    total, running, start = 0.0, trials, 0
    for rung in (*(rung for rung in rungs if rung < max_epochs), max_epochs):
        total += running * (rung - start)
        running, start = passing(running, reduction=reduction), rung
    return total
