"""Which arm of a race to export."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.errors import PlanError
from analysis.stats.race import Judgement, worse_arms


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The arm to export."""

    arm: str
    confirmed: bool
    """The leader is better than or equivalent to every arm that it is compared with, and every arm that it is not
    compared with is clearly worse than another."""
    words: str


def choose(judgement: Judgement, *, order: Sequence[str], simplest: bool = False) -> Choice:
    """The winner, or the simplest arm that is equivalent to it.

    Args:
        judgement: what `analysis.stats.race.judge` said last.
        order: the arms that may be chosen, the simplest first: alpha = 0 before alpha > 0, then fewer departures from
            the defaults.
        simplest: take the first arm in ``order`` that is the leader or equivalent to it within delta.

    Raises:
        PlanError: there is no leader yet, or ``order`` lacks it.
    """
    leader = judgement.leader
    if leader is None:
        raise PlanError("no winner can be chosen: the arms that are left share no seed")
    if leader not in order:
        raise PlanError(f"order lacks {leader}, which leads; it has {', '.join(order) or 'no arms'}")
    beside = {
        one.other if one.arm == leader else one.arm: one for one in judgement.verdicts if leader in (one.arm, one.other)
    }
    arms = {arm for one in judgement.verdicts for arm in (one.arm, one.other)} - {leader}
    apart = arms - beside.keys() - worse_arms(judgement.verdicts)
    unsettled = sorted(apart | {arm for arm, one in beside.items() if not one.decided})
    status = f"not confirmed: undecided against {', '.join(unsettled)}" if unsettled else "confirmed"
    band = {leader} | {arm for arm, one in beside.items() if one.kind == "equivalent"}
    arm = next(one for one in order if one in band) if simplest else leader
    if arm == leader:
        return Choice(arm=arm, confirmed=not unsettled, words=f"{leader} leads, {status}")
    words = f"{leader} leads, {status}; {arm} is the simplest that is equivalent to it"
    return Choice(arm=arm, confirmed=not unsettled, words=words)
