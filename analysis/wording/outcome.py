"""What a confirmation answers, in one plain sentence. No drawing, no HTML."""

import math
from dataclasses import dataclass

from analysis.stats.confirm.results import ArmResult, Confirmed
from analysis.stats.confirm.standing import Kind
from analysis.units import amount
from analysis.wording.phrases import epochs

DEFAULTS = "defaults"
"""Role of the configuration to beat, as the study side logs it."""
NARROW = 1.0
"""Intervals of less than this are shown to two decimals."""
MOST_PLACES = 4
"""An end of an interval that is not 0 is not shown as 0, with so many decimals at most."""
TURNED: dict[Kind, Kind] = {"better": "worse", "worse": "better", "equivalent": "equivalent", "undecided": "undecided"}


@dataclass(frozen=True, kw_only=True)
class SidedVerdict:
    """A verdict read from one of its two arms: ``effect`` and interval are above 0 where ``arm`` is the better one."""

    arm: str
    other: str
    kind: Kind
    effect: float
    low: float
    high: float
    pairs: int


def beside(found: Confirmed, name: str) -> list[SidedVerdict]:
    """Every verdict on an arm, read from its side."""
    sides = []
    for one in found.judgement.verdicts:
        if one.arm == name:
            side = SidedVerdict(
                arm=name, other=one.other, kind=one.kind, effect=one.effect, low=one.low, high=one.high, pairs=one.pairs
            )
            sides.append(side)
        elif one.other == name:
            turned = SidedVerdict(
                arm=name, other=one.arm, kind=TURNED[one.kind], effect=-one.effect, low=-one.high, high=-one.low,
                pairs=one.pairs,
            )  # fmt: skip
            sides.append(turned)
    return sides


def defaults_of(found: Confirmed) -> ArmResult | None:
    """The configuration to beat, where the confirmation has one and compares others with it."""
    arm = next((one for one in found.arms if DEFAULTS in one.roles), None)
    return arm if arm is not None and candidates(found, arm.name) else None


def candidates(found: Confirmed, defaults: str) -> list[SidedVerdict]:
    """Everything that was compared with the defaults, beside them; what breaks a constraint is no candidate."""
    return [one for arm in found.arms if not arm.breaks for one in beside(found, arm.name) if one.other == defaults]


def question_of(found: Confirmed) -> str:
    """What the confirmation asks."""
    after = f"in {found.metric} after {epochs(found.max_epochs)}"
    if defaults_of(found) is not None:
        return f"Is any configuration that was tried better than the defaults, {after}?"
    return f"Which of {len(found.arms)} configurations is best, {after}?"


def outcome(found: Confirmed) -> str:
    """The answer. Every figure in it is of one verdict, and is as that verdict has it."""
    defaults = defaults_of(found)
    if defaults is not None:
        return _beside_defaults(found, candidates(found, defaults.name))
    leader = None if found.choice is None else found.choice.arm
    sides = [] if leader is None else beside(found, leader)
    return _among_all(found, sides)


def _beside_defaults(found: Confirmed, sides: list[SidedVerdict]) -> str:
    looked = [one for one in sides if math.isfinite(one.low)]
    if not looked:
        return _no_look(found, max(one.pairs for one in sides))
    best = max(looked, key=lambda one: one.effect)
    if better := [one for one in looked if one.kind == "better"]:
        chosen = None if found.choice is None else found.choice.arm
        winner = next((one for one in better if one.arm == chosen), max(better, key=lambda one: one.effect))
        shown = "" if winner.low >= found.plan.delta else f"; that it is at least {_delta(found)} is not shown"
        return f"{winner.arm} beats the defaults by {_span(winner, found)}{shown}."
    if all(one.kind == "worse" for one in sides):
        return (
            f"The defaults beat everything that was compared with them; the nearest, {best.arm}, is {_is(best, found)}."
        )
    if all(one.kind in ("worse", "equivalent") for one in sides):
        return (
            f"Nothing tried beats the defaults by {_delta(found)} or more; the best candidate, {best.arm}, is "
            f"{_is(best, found)}."
        )
    return f"Nothing tried is shown to beat the defaults; the best candidate, {best.arm}, is {_is(best, found)}."


def _among_all(found: Confirmed, sides: list[SidedVerdict]) -> str:
    looked = [one for one in sides if math.isfinite(one.low)]
    if not looked:
        return _no_look(found, max((one.pairs for one in found.judgement.verdicts), default=0))
    nearest = min(looked, key=lambda one: one.effect)
    if all(one.kind == "better" for one in sides):
        others = "" if len(sides) == 1 else f", the nearest of the {len(sides)} that it was compared with,"
        return f"{nearest.arm} beats {nearest.other}{others} by {_span(nearest, found)}."
    if all(one.kind in ("better", "equivalent") for one in sides):
        equal = min((one for one in sides if one.kind == "equivalent"), key=lambda one: one.effect)
        return (
            f"{equal.arm} leads, and {equal.other} is equivalent within {_delta(found)}: {equal.arm} is "
            f"{_is(equal, found)}."
        )
    return (
        f"No configuration is shown to be the best of the {len(found.arms)}; {nearest.arm} leads, and beside "
        f"{nearest.other} it is {_is(nearest, found)}."
    )


def _no_look(found: Confirmed, pairs: int) -> str:
    return (
        f"No answer yet: {pairs} seed{'s have' if pairs != 1 else ' has'} ended in both of two configurations, and the "
        f"first look is at {found.plan.first_seeds}."
    )


def also_shown(found: Confirmed) -> str:
    """The largest difference that is decided where the answer's own is not; empty where there is none."""
    defaults = defaults_of(found)
    chosen = None if found.choice is None else found.choice.arm
    asked = candidates(found, defaults.name) if defaults else beside(found, chosen) if chosen else []
    if any(one.kind == "better" for one in asked) or all(one.kind == "worse" for one in asked):
        return ""
    sides = [one for arm in found.arms for one in beside(found, arm.name) if one.kind == "better"]
    if not sides:
        return ""
    most = max(sides, key=lambda one: one.effect)
    base = None if defaults is None else defaults.name
    who = "the defaults beat" if most.arm == base else f"{most.arm} beats"
    return f"What is shown: {who} {'the defaults' if most.other == base else most.other} by {_span(most, found)}."


def _delta(found: Confirmed) -> str:
    return amount(f"{found.plan.delta:g}", found.metric)


def _span(one: SidedVerdict, found: Confirmed) -> str:
    return f"{_figures(one, '')}{_stands_on(one, found)}"


def _is(one: SidedVerdict, found: Confirmed) -> str:
    better = "" if found.mode == "max" else ", above 0 being better"
    return f"{_figures(one, '+')}{better}{_stands_on(one, found)}"


def _figures(one: SidedVerdict, sign: str) -> str:
    places = 2 if one.high - one.low < NARROW else 1
    while places < MOST_PLACES and any(end and abs(end) < 0.5 * 10**-places for end in (one.low, one.high)):
        places += 1
    value, low, high = (f"{figure:{sign}z.{places}f}" for figure in (one.effect, one.low, one.high))
    return f"{value}, from {low} to {high}"


def _stands_on(one: SidedVerdict, found: Confirmed) -> str:
    """The seeds, and the runs of both that were lost."""
    lost = {name: found.arm(name).lost for name in (one.arm, one.other)}
    told = [f"{name} lost {of.count} of {of.runs} runs" for name, of in lost.items() if of.count]
    return f" ({', '.join([f'{one.pairs} paired seeds', *told])})"
