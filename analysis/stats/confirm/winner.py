"""Which arm of a race to export."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from analysis.errors import PlanError
from analysis.stats.confirm.paired_verdict import Verdict
from analysis.stats.confirm.seed_race import Judgement, worse_arms


@dataclass(frozen=True, kw_only=True)
class Winner:
    """The arm to export."""

    arm: str
    confirmed: bool
    """Nothing is open about the leader or about this arm: each is better than or equivalent to every arm that it is
    compared with, and every arm that it is not compared with is clearly worse than another."""
    qualification: str
    """What has to be said of the arm beside "confirmed" or "not confirmed" wherever that is said: runs that were lost,
    or by how much it is worse than the leader; empty where there is nothing."""
    words: str
    loses_runs: bool = False
    """Whether any of the arm's runs collapsed or failed."""

    @property
    def headline(self) -> str:
        """The status, such as: CONFIRMED for runs that do not collapse or fail; 1 of 10 runs was lost."""
        state = "CONFIRMED" if self.confirmed else "NOT CONFIRMED"
        if self.confirmed and self.loses_runs:
            state += " for runs that do not collapse or fail"
        return f"{state}; {self.qualification}" if self.qualification else state


def choose(
    judgement: Judgement, *, order: Sequence[str], simplest: bool = False, barred: Collection[str] = ()
) -> Winner:
    """The winner, or the simplest arm that is equivalent to it.

    Args:
        judgement: what `analysis.stats.confirm.seed_race.judge` said last.
        order: the arms that may be chosen, the simplest first: alpha = 0 before alpha > 0, then fewer departures from
            the defaults.
        simplest: take the first arm in ``order`` that is the leader or equivalent to it within delta, and that no
            comparison shows to be worse than another arm by more than is equivalent.
        barred: arms that break a constraint of the study, which ``judgement`` was told of too. None is chosen, and
            being worse than one of them takes no arm out.

    Raises:
        PlanError: there is no leader yet, or ``order`` lacks it.
    """
    leader = judgement.leader
    if leader is None:
        raise PlanError("no winner can be chosen: the arms that are left share no seed")
    if leader not in order:
        raise PlanError(f"order lacks {leader}, which leads; it has {', '.join(order) or 'no arms'}")
    worse = worse_arms([one for one in judgement.verdicts if not {one.arm, one.other} & set(barred)])
    band = {arm for arm, one in _beside(judgement, leader).items() if one.kind == "equivalent"} - worse - set(
        barred
    ) | {leader}
    arm = next(one for one in order if one in band) if simplest else leader
    unsettled = sorted(_unsettled(judgement, leader, worse) | _unsettled(judgement, arm, worse) - {leader})
    confirmed = not unsettled
    qualification = "; ".join([*_qualifications(judgement, arm, leader), *_out_of_reach(judgement, arm, barred)])
    status = "confirmed" if confirmed else f"not confirmed: undecided against {', '.join(unsettled)}"
    words = f"{leader} leads, {status}"
    if arm != leader:
        words += f"; {arm} is the simplest that is equivalent to it"
    return Winner(
        arm=arm,
        confirmed=confirmed,
        qualification=qualification,
        words=f"{words}; {arm}: {qualification}" if qualification else words,
        loses_runs=arm in judgement.lost and judgement.lost[arm].count > 0,
    )


def _out_of_reach(judgement: Judgement, arm: str, barred: Collection[str]) -> list[str]:
    """What is better than ``arm`` and breaks a constraint."""
    better = [
        one.arm if one.other == arm else one.other
        for one in judgement.verdicts
        if (one.kind == "worse" and one.arm == arm) or (one.kind == "better" and one.other == arm)
    ]
    return [f"shown to be worse than {name}, which breaks a constraint" for name in better if name in barred]


def _beside(judgement: Judgement, arm: str) -> dict[str, Verdict]:
    """The comparisons of ``arm``, by the other arm."""
    return {one.other if one.arm == arm else one.arm: one for one in judgement.verdicts if arm in (one.arm, one.other)}


def _unsettled(judgement: Judgement, arm: str, worse: set[str]) -> set[str]:
    """Arms against which nothing is settled about ``arm``."""
    beside = _beside(judgement, arm)
    arms = {one for verdict in judgement.verdicts for one in (verdict.arm, verdict.other)} - {arm}
    return (arms - beside.keys() - worse) | {other for other, one in beside.items() if not one.decided}


def _qualifications(judgement: Judgement, arm: str, leader: str) -> list[str]:
    lost = judgement.lost.get(arm)
    said = [lost.words] if lost is not None and lost.count else []
    one = _beside(judgement, arm).get(leader)
    if arm != leader and one is not None:
        least, most = (one.low, one.high) if one.arm == leader else (-one.high, -one.low)
        if least > 0:
            said.append(f"shown to be worse than {leader}, by {least:.2g} to {most:.2g}, which is within {one.delta}")
    return said
