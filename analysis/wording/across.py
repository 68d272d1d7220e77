"""What is said of several studies side by side. No drawing, no HTML."""

import math

from analysis.stats.across_studies import Contrast, Effect, Entered, Pooled
from analysis.stats.configuration_means import result_of
from analysis.units import amount
from analysis.wording.phrases import duration

KINDS = {"better": "is better", "worse": "is worse", "equivalent": "is equivalent", "undecided": "is undecided"}


def say_contrast(found: Contrast) -> str:
    """The answer over all studies."""
    one = found.pooled
    delta = amount(f"{one.delta:g}", found.metric)
    verdicts = {
        "better": f"{found.first} is better than {found.second}",
        "worse": f"{found.first} is worse than {found.second}",
        "equivalent": f"{found.first} and {found.second} are equivalent within {delta}",
        "undecided": f"{found.first} against {found.second} is undecided",
    }
    few = "" if one.studies > 2 else " Two studies say little of others: the interval has one degree of freedom."
    return (
        f"Over {one.studies} studies {verdicts[one.kind]}: mean difference {one.mean:+.2f}, {_interval(one)}; above 0 "
        f"in {one.better} of {one.studies}. Their effects differ by "
        f"{one.spread:.2f} (standard deviation).{few}"
    )


def _interval(one: Pooled) -> str:
    if math.isinf(one.low):
        return "no interval, since the studies' effects do not differ"
    return f"95 % interval over studies {one.low:+.2f} to {one.high:+.2f}"


def say_choice(one: Entered) -> str:
    """What a study's confirmation says of its choice; empty without one."""
    if one.confirmed is None or one.confirmed.choice is None:
        return ""
    return f"{one.label}: {one.confirmed.choice.words}."


def effect_row(one: Effect) -> tuple[str, ...]:
    """A study of a contrast."""
    interval = f"{one.low:+.2f} to {one.high:+.2f}" if math.isfinite(one.low) else "–"
    return (
        one.label,
        f"{one.effect:+.2f}",
        interval,
        one.kind,
        str(one.pairs),
        f"{one.max_epochs}",
        " ".join(one.splits),
    )


EFFECT_HEAD = ("study", "difference", "interval", "verdict", "seeds", "epochs a run", "splits")
STUDY_HEAD = (
    *("study", "metric", "best", "score", "interval", "confirmed", "trials", "complete", "stopped", "infeasible"),
    *("failed", "runs", "epochs", "trial time", "epochs a trial", "split"),
)


def study_row(one: Entered) -> tuple[str, ...]:
    """Where a study stands and what it cost."""
    study, best = one.study, one.study.best()
    standing = None if best is None else study.standing_of(best)
    name, score, interval, state = "–", "–", "–", "no confirmation"
    if best is not None and standing is not None:
        found = result_of(study, standing)
        name, score = f"trial {best.number}", f"{standing.score:.2f}"
        if not standing.full:
            score += f" after {standing.epoch}"
        interval = "1 seed" if found.low is None or found.high is None else f"{found.low:.2f} to {found.high:.2f}"
    if one.confirmed is not None:
        choice = one.confirmed.choice
        arm = None if choice is None else one.confirmed.arm(choice.arm)
        state = "no leader yet" if choice is None else "yes" if choice.confirmed else "not shown"
        if arm is not None and arm.mean is not None:
            name, score = arm.name, f"{arm.mean.value:.2f}"
            interval = f"{arm.mean.low:.2f} to {arm.mean.high:.2f}" if math.isfinite(arm.mean.low) else "–"
    counts = [sum(trial.state == state for trial in study.trials) for state in STUDY_HEAD[7:11]]
    return (
        one.label, f"{study.mode} {study.metric}", name, score, interval, state, str(len(study.trials)),
        *map(str, counts), str(one.runs), str(one.epochs), duration(one.seconds), str(study.max_epochs),
        (study.split_hash or "unknown")[:12],
    )  # fmt: skip
