"""The race of a confirmation: paired seeds for the comparisons that are still open, until all are decided.

Bonferroni's share of the error goes to each comparison, and within it the intervals hold at every look
(`analysis.stats.confirm.group_sequential`). So with probability 1 - error every interval covers its true difference at
every look, and then every verdict, every dropped arm and the choice of the winner are right together. Differences are
those of typical runs; lost runs are found by `analysis.stats.confirm.lost_runs` and counted beside them."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.errors import PlanError
from analysis.stats.confirm.lost_runs import Lost, lost_runs, typical_runs
from analysis.stats.confirm.new_run import new_run
from analysis.stats.confirm.paired_verdict import Verdict, compare, paired_differences
from analysis.stats.confirm.race_plan import RacePlan
from analysis.stats.confirm.standing import ComparisonState, standing

Scores = Mapping[str, Mapping[int, float]]

Run = tuple[str, int]
"""Arm and seed."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Where the race stands."""

    verdicts: tuple[Verdict, ...]
    """One a comparison, in the plan's order."""
    lost: Mapping[str, Lost]
    """Collapsed and failed runs of every arm."""
    dropped: frozenset[str]
    """Arms that are clearly worse than another and get no more seeds; what is undecided about them stays so."""
    leader: str | None
    """Of the arms that have ``first_seeds`` scores and are not clearly worse than another, the one with the best mean
    of typical runs, what seeds add to all arms being taken off; None while two arms share no seed."""
    over: bool
    reason: str
    """Why it is over, or what it waits for."""
    wanted: tuple[Run, ...]
    """(arm, seed) to run next: what is missing of the rounds begun, else the next round. Empty when over."""


@dataclass(frozen=True, kw_only=True)
class RaceProgress:
    """What the race needs to go on: where every comparison stands, and what to run next."""

    standings: tuple[ComparisonState, ...]
    lost: Mapping[str, Lost]
    typical: Scores
    worse: frozenset[str]
    dropped: frozenset[str]
    racing: int
    """Comparisons that are open and not dropped."""
    wanted: tuple[Run, ...]


def judge(
    scores: Scores,
    plan: RacePlan,
    *,
    sign: int = 1,
    failed: Collection[Run] = (),
    barred: Collection[str] = (),
    metric: str = "",
) -> Judgement:
    """The verdicts on ``scores[arm][seed]``, and what to run next.

    It depends on its arguments alone: call it again with all scores whenever the wanted runs are there. A look takes
    place at every number of pairs from ``first_seeds`` on, whether or not it is called then. What an earlier look
    decided and all scores together do not is withdrawn, and an arm that was dropped for it races again.

    Args:
        scores: of the full budget, in units of the objective; an arm without scores may be left out.
        sign: 1 if more is better, -1 if less is.
        failed: runs that will never have a score; they are not asked for again, count as lost, and their pairs are
            left out.
        barred: arms that break a constraint of the study. They never lead, no arm is dropped for being worse than one,
            and they get no more seeds unless they are kept; what is said of differences stays as it is.
        metric: of the scores, which says the unit of differences.

    Raises:
        PlanError: an arm or a seed that the plan does not know, a score that is not finite, a failed run with a score.
    """
    now = progress(scores, plan, sign=sign, failed=failed, barred=barred)
    verdicts = tuple(
        compare(
            arm,
            other,
            paired_differences(now.typical, arm, other, sign=sign),
            schedule=plan.schedule,
            delta=plan.delta,
            left=_left(scores, plan, arm, other, set(failed)),
            stopped=bool(now.dropped & {arm, other}),
            new_run=new_run(scores, now.lost, arm, other, sign=sign),
            metric=metric,
        )
        for arm, other in plan.comparisons
    )
    return Judgement(
        verdicts=verdicts,
        lost={arm: now.lost.get(arm, Lost()) for arm in plan.arms},
        dropped=now.dropped,
        leader=leader(scores, now, plan, sign=sign, barred=barred),
        over=not now.wanted,
        reason=_reason(verdicts, now.racing, plan, over=not now.wanted),
        wanted=now.wanted,
    )


def progress(
    scores: Scores, plan: RacePlan, *, sign: int = 1, failed: Collection[Run] = (), barred: Collection[str] = ()
) -> RaceProgress:
    """:func:`judge` without its words and probabilities, with the same arguments and errors."""
    _check(scores, plan, sign, failed)
    lost = lost_runs(scores, delta=plan.delta, sign=sign, failed=failed)
    typical = typical_runs(scores, lost)
    schedule = plan.schedule
    standings = tuple(
        standing(paired_differences(typical, arm, other, sign=sign), schedule, plan.delta)
        for arm, other in plan.comparisons
    )
    pairs = list(zip(plan.comparisons, standings, strict=True))
    decided = [(pair if one.kind == "better" else pair[::-1]) for pair, one in pairs if one.kind in ("better", "worse")]
    worse = {loser for winner, loser in decided if winner not in barred}
    dropped = frozenset((worse | set(barred)) - plan.kept)
    open_ = [pair for pair, one in pairs if one.kind == "undecided" and not dropped & set(pair)]
    wanted = _wanted(scores, plan, {arm for pair in open_ for arm in pair}, set(failed))
    return RaceProgress(
        standings=standings,
        lost=lost,
        typical=typical,
        worse=frozenset(worse),
        dropped=dropped,
        racing=len(open_),
        wanted=wanted,
    )


def _check(scores: Scores, plan: RacePlan, sign: int, failed: Collection[Run]) -> None:
    if sign not in (1, -1):
        raise PlanError(f"sign = {sign}: 1 (more is better) and -1 (less is better) are allowed")
    arms = plan.arms
    runs = [(arm, seed) for arm, of_arm in scores.items() for seed in of_arm]
    for arm, seed in (*runs, *failed):
        if arm not in arms:
            raise PlanError(f"scores: the arm {arm} is in no comparison; arms: {', '.join(arms)}")
        if not 0 <= seed < plan.seeds:
            raise PlanError(f"scores: {arm} has seed {seed}; 0 to {plan.seeds - 1} is allowed by the plan's seeds")
    for arm, seed in runs:
        if not math.isfinite(scores[arm][seed]):
            raise PlanError(f"scores: {arm} scored {scores[arm][seed]} with seed {seed}; leave out a run that failed")
    if both := set(runs) & set(failed):
        raise PlanError(f"failed: {sorted(both)} have a score")


def worse_arms(verdicts: Sequence[Verdict]) -> set[str]:
    """Arms that some comparison shows to be worse."""
    return {one.arm if one.kind == "worse" else one.other for one in verdicts if one.kind in ("better", "worse")}


def leader(
    scores: Scores, now: RaceProgress, plan: RacePlan, *, sign: int = 1, barred: Collection[str] = ()
) -> str | None:
    """`Judgement.leader`: by the arms' effects in a least squares fit of arm and seed to the typical runs; where every
    arm has the same seeds, these are the means."""
    typical = now.typical
    able = [arm for arm in plan.arms if arm not in now.worse and arm not in barred]
    arms = [arm for arm in able if len(scores.get(arm, ())) >= plan.first_seeds]
    if not arms or not _joined([set(typical[arm]) for arm in arms]):
        return None
    seeds = sorted({seed for arm in arms for seed in typical[arm]})
    runs = [(arm, seed) for arm in arms for seed in sorted(typical[arm])]
    design = np.zeros((len(runs), len(arms) + len(seeds)))
    for row, (arm, seed) in enumerate(runs):
        design[row, arms.index(arm)] = design[row, len(arms) + seeds.index(seed)] = 1
    values = np.array([sign * typical[arm][seed] for arm, seed in runs])
    effects = np.linalg.lstsq(design, values - values.mean(), rcond=None)[0][: len(arms)]
    nearly = effects.max() - 1e-9 * np.abs(values - values.mean()).max()
    return next(arm for arm, effect in zip(arms, effects, strict=True) if effect >= nearly)  # the first of equal ones


def _joined(groups: Sequence[set[int]]) -> bool:
    """Whether the arms' seeds hang together, so that every two arms can be compared, if need be through others."""
    rest, reached = list(groups[1:]), set(groups[0])
    while near := [group for group in rest if group & reached]:
        reached = reached.union(*near)
        rest = [group for group in rest if not group & reached]
    return not rest


def _left(scores: Scores, plan: RacePlan, arm: str, other: str, failed: Collection[Run]) -> int:
    """Seeds of the plan with which both may still get a score that they have not got yet."""
    return sum(
        not {(arm, seed), (other, seed)} & set(failed)
        and not (seed in scores.get(arm, {}) and seed in scores.get(other, {}))
        for seed in range(plan.seeds)
    )


def _wanted(scores: Scores, plan: RacePlan, racing: Collection[str], failed: Collection[Run]) -> tuple[Run, ...]:
    """Rounds are begun together up to the first look, then one by one."""
    if not racing:
        return ()
    arms = [arm for arm in plan.arms if arm in racing]
    begun = max((seed for arm in arms for seed in scores.get(arm, ())), default=-1) + 1
    for rounds in range(max(begun, plan.first_seeds), plan.seeds + 1):
        missing = tuple(
            (arm, seed)
            for seed in range(rounds)
            for arm in arms
            if seed not in scores.get(arm, {}) and (arm, seed) not in failed
        )
        if missing:
            return missing
    return ()


def _reason(verdicts: Sequence[Verdict], racing: int, plan: RacePlan, *, over: bool) -> str:
    undecided = sum(not one.decided for one in verdicts)
    count = f"{undecided} of {len(verdicts)} comparisons"
    if not over:
        return f"{racing} of {len(verdicts)} comparisons need more seeds"
    if undecided == 0:
        return "every comparison is decided"
    if racing == 0:
        return f"{count} undecided, all with an arm that is clearly worse than another"
    return f"the budget of {plan.seeds} seeds is spent; {count} undecided"
