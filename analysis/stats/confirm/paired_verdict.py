"""One comparison of two arms over paired seeds, and what may be said of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.stats.confirm.error_schedule import MOST_EXTENDED, Schedule
from analysis.stats.confirm.group_sequential import Array
from analysis.stats.confirm.new_run import NewRun
from analysis.stats.confirm.outlook import MOST_NEEDED, Chances, chance_to_settle, chances, seeds_needed
from analysis.stats.confirm.standing import ComparisonState, Kind, standing
from analysis.units import amount

ESTIMAND = (
    "Differences are those between typical runs, which did not collapse or fail; lost runs are counted beside them."
)
"""What the estimates and intervals are about, in one sentence."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """``arm`` against ``other``. Differences are counted so that above 0 ``arm`` is the better one, whether the
    objective is maximised or minimised. They are means over the seeds with which neither run was lost: see
    `analysis.stats.confirm.lost_runs`."""

    arm: str
    other: str
    pairs: int
    """Seeds that both arms have a score of, neither run having collapsed, at the look that the interval is of."""
    effect: float
    """Mean paired difference of these, the centre of the interval, in units of the objective; NaN without a pair."""
    low: float
    high: float
    """The interval: those of all comparisons of the plan cover their true differences, at every look at once, with
    probability 1 - error. Infinite before the first look."""
    kind: Kind
    withdrawn: Kind | None
    """What an earlier look of the same data decided and the last one no longer does; None where there was nothing."""
    chances: Chances | None
    """Posterior probabilities of better, equivalent and worse; None where the spread is not known."""
    plan_settles: float | None
    """Of an undecided one: the predictive probability that the seeds left of the plan decide it; 0 when none are left.
    None where it is decided, or nothing can be predicted."""
    seeds_needed: tuple[int, int | None] | None
    """Of an undecided one with no seeds left: 80 % interval of the number of further pairs that would decide it; an end
    of None stands for more than `analysis.stats.confirm.outlook.MOST_NEEDED`. Of the others None."""
    new_run: NewRun | None
    """Probability that ``arm`` is better in a new run, lost runs included; None while no seed has ended in both."""
    p: float
    """Adjusted for the looks and for all comparisons of the plan: the smallest family-wise error at which 0 would be
    outside the interval."""
    delta: str
    """The smallest difference that matters, as sentences show it, such as 0.3 mIoU."""
    finding: str
    """The verdict in a few words, without its figures."""
    words: str
    """The verdict as a sentence for a reader of the paper, with effect, interval, n and test."""

    @property
    def decided(self) -> bool:
        return self.kind != "undecided"


def paired_differences(scores: Mapping[str, Mapping[int, float]], arm: str, other: str, *, sign: int) -> Array:
    """sign · (arm - other), (pairs,) float64, of the seeds that both have, in the order of the seeds."""
    first, second = scores.get(arm, {}), scores.get(other, {})
    return np.array([sign * (first[seed] - second[seed]) for seed in sorted(first.keys() & second.keys())])


def compare(
    arm: str,
    other: str,
    differences: Array,
    *,
    schedule: Schedule,
    delta: float,
    left: int | None = None,
    stopped: bool = False,
    new_run: NewRun | None = None,
    metric: str = "",
) -> Verdict:
    """The verdict on paired differences of typical runs, (pairs,), in the order of their seeds.

    Args:
        schedule: looks and error.
        delta: the smallest difference that matters.
        left: pairs that the plan still allows; None: up to the schedule's last look.
        stopped: one of the two arms was dropped from the race, so no more pairs come.
        new_run: which arm is better in a new run.
        metric: of the scores, which says the unit of differences.
    """
    where = standing(differences, schedule, delta)
    left = schedule.last - where.pairs if left is None else left
    open_ = where.kind == "undecided"
    likely = chances(differences, delta=delta) if where.pairs >= schedule.first else None
    settles = needed = None
    if open_ and where.pairs >= schedule.first and not stopped:
        settles = chance_to_settle(differences, left=left, schedule=schedule, delta=delta)
        needed = seeds_needed(differences, schedule=schedule, delta=delta) if left <= 0 else None
    withdrawn = where.earlier[1] if open_ and where.earlier is not None else None
    p = schedule.p(where.t, where.pairs) if where.pairs >= schedule.first else 1.0
    finding = _finding(
        arm, other, where, schedule, delta, left=left, stopped=stopped, settles=settles, needed=needed, metric=metric
    )
    words, shown = finding, amount(f"{delta:g}", metric)
    more = [likely.words(shown)] if open_ and likely is not None else []
    more += [new_run.words] if new_run is not None else []
    if where.pairs >= schedule.first:
        words = f"{finding} ({'; '.join([_figures(where, p, schedule.error), *more])})"
    return Verdict(
        arm=arm, other=other, pairs=where.pairs, effect=where.estimate, low=where.low, high=where.high, kind=where.kind,
        withdrawn=withdrawn, chances=likely, plan_settles=settles, seeds_needed=needed, new_run=new_run, p=p,
        delta=shown, finding=finding, words=words,
    )  # fmt: skip


def _figures(where: ComparisonState, p: float, error: float) -> str:
    interval = (
        "no interval"
        if math.isinf(where.low)
        else f"{100 * (1 - error):g}% interval {where.low:+.2f} to {where.high:+.2f}"
    )
    return (
        f"mean difference of typical runs {where.estimate:+.2f}, {interval}, {where.pairs} paired seeds, adjusted p "
        f"{p_shown(p)}, group-sequential paired t-test"
    )


def _finding(
    arm: str,
    other: str,
    where: ComparisonState,
    schedule: Schedule,
    delta: float,
    *,
    left: int,
    stopped: bool,
    settles: float | None,
    needed: tuple[int, int | None] | None,
    metric: str,
) -> str:
    shown = amount(f"{delta:g}", metric)
    low, high, kind = where.low, where.high, where.kind
    if kind == "equivalent":
        side = f", {arm} being the {'better' if low > 0 else 'worse'} one" if low > 0 or high < 0 else ""
        return f"{arm} and {other} are equivalent within {shown}{side}"
    if kind != "undecided":
        least = low if kind == "better" else -high
        if least >= delta:
            return f"{arm} is {kind} than {other} by at least {shown}"
        by = amount(f"{least:.2g}", metric)
        return f"{arm} is {kind} than {other}, by at least {by}; at least {shown} is not shown"
    begin = f"{arm} against {other}: undecided"
    if where.pairs < schedule.first:
        few = f"{where.pairs} paired seed{'s' * (where.pairs != 1)} of typical runs"
        return f"{begin}: {few}, the first look is at {schedule.first}"
    if where.earlier is not None:
        pairs, was = where.earlier
        begin += f"; after {pairs} pairs it was {was}, which the later seeds do not bear out"
    if stopped:
        return f"{begin}; no more seeds come, since one of the two is clearly worse than another configuration"
    if math.isinf(low):
        return f"{begin}: all differences are the same, so their spread is not known"
    if left > 0:
        chance = "" if settles is None else f", and settle it with probability {100 * settles:.0f} %"
        return f"{begin}: up to {left} more seed{'s' * (left != 1)} of the plan are left{chance}"
    room = MOST_EXTENDED - schedule.last
    if room <= 0:
        return f"{begin}: the plan's seeds are spent, and no plan may have more than {MOST_EXTENDED}"
    spent = f"{begin}: the plan's seeds are spent. confirm --more-seeds adds some, and the intervals still hold"
    if needed is None:
        return spent
    allowed = f", and {room} are allowed" if needed[1] is None or needed[1] > room else ""
    return f"{spent}; likely {_between(needed)} more are needed{allowed}"


def _between(needed: tuple[int, int | None]) -> str:
    """The range as words, such as: 12 to 80."""
    low, high = needed
    if high is None:
        return f"{low} to more than {MOST_NEEDED}" if low <= MOST_NEEDED else f"more than {MOST_NEEDED}"
    return f"{low} to {high}"


def p_shown(p: float) -> str:
    """To three places."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
