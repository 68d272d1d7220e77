"""What the report says of scores on the way: learning curves, noise at the rungs, and whether early scores foretell the
last. Each statement with its n."""

from analysis.stats.rung_correlation import LEAST as LEAST_FULL
from analysis.stats.rung_correlation import Fidelity, Rung
from analysis.stats.sensitivity.rung_noise import MOSTLY, RungNoise
from analysis.stats.study import StudyTrials
from analysis.wording.phrases import configurations, epochs


def say_curves(study: StudyTrials) -> str:
    """One sentence of reading."""
    stopped = sum(trial.state == "stopped" for trial in study.trials)
    rungs = ", ".join(str(rung) for rung in study.rungs if rung < study.max_epochs)
    if not rungs:
        return "Every trial ran all its epochs: there was no scheduler."
    return (
        f"{stopped} of {len(study.trials)} trials were stopped at the rungs ({rungs} epochs); their scores are early "
        "ones and are not compared with final scores anywhere in this report."
    )


def say_rung_noise(found: RungNoise | None, study: StudyTrials) -> str:
    """How much of what the first rung ranks is luck, and what to set where it is most; empty without a rung."""
    if not any(rung < study.max_epochs for rung in study.rungs):
        return "" if found is None else say_noise(found)
    if found is None:
        return (
            "How much of what the first rung ranks is luck is not known: no configuration ran with several seeds, and "
            "no surrogate is good enough to say what is left."
        )
    return say_noise(found)


def say_noise(found: RungNoise) -> str:
    """The same of any rung."""
    measured = f"n = {found.runs} runs of {configurations(found.configs)}, and {found.count} trials"
    alike = (
        "; what a seed does to all configurations alike is left out, since these trials ran with one seed"
        if found.own
        else ""
    )
    if not found.runs:
        measured = (
            f"{found.count} trials; the seeds' is what the surrogate leaves unexplained, which counts what it cannot "
            "model too"
        )
    text = (
        f"After {epochs(found.epoch)} seeds of one configuration differ by {found.seeds:.3g} and all trials by "
        f"{found.trials:.3g} (standard deviations, {measured}{alike}): {100 * found.share:.0f} % of the variance that "
        f"this rung ranks is luck (95 % interval {100 * found.low:.0f} to {100 * found.high:.0f} %)."
    )
    if not (found.mostly or found.open):
        return text
    better = found.better
    if better is None:
        none = "no later one is known to be better: run without a scheduler (scheduler.name: none), or lower the noise "
        none += "of a score (more held-out images, where it is measured on such)."
        return (
            f"{text} This rung is mostly noise, and {none}"
            if found.mostly
            else f"{text} Whether that is most of it is not known, and {none}"
        )
    there = f"{100 * better.share:.0f} % (95 % interval {100 * better.low:.0f} to {100 * better.high:.0f} %)"
    if found.mostly:
        still = "; that may still be most of it" if better.high > MOSTLY else ""
        return (
            f"{text} This rung is mostly noise: set scheduler.grace_epochs to {better.epoch}, where the share of luck "
            f"is {there}{still}."
        )
    return (
        f"{text} Whether that is most of it is not known. With scheduler.grace_epochs: {better.epoch} the share of "
        f"luck would be {there}."
    )


def say_fidelity(found: Fidelity | None, study: StudyTrials) -> str:
    """How far the rungs foretell the end, and whether the grace period is too short."""
    if found is None:
        return why_no_fidelity(study)
    text = " ".join(_say_rung(rung, found, first=rung is found.rungs[0]) for rung in found.rungs)
    if found.selected:
        text += (
            f" These {found.trials} trials are a selection: the scheduler stopped others, so that winners that it "
            "stopped are not among them, and the correlation among all configurations may be another."
        )
    early = [rung for rung in found.rungs if rung.too_early]
    if early and early[0] is found.rungs[0]:
        text += (
            f" Warning: a grace period of {epochs(early[0].epoch)} is too short: it would stop {early[0].lost} of "
            f"the {early[0].winners} winners (n = {found.trials} trials). {say_supported(found)}"
        )
    elif early:
        listed = ", ".join(str(rung.epoch) for rung in early)
        text += f" Warning: the rungs after epoch {listed} stop winners too. {say_supported(found)}"
    return text


def why_no_fidelity(study: StudyTrials) -> str:
    """Why the rungs cannot be compared with the end."""
    full = sum(trial.epochs == study.max_epochs for trial in study.complete)
    if full < LEAST_FULL:
        return f"There are too few full-length trials ({full}, {LEAST_FULL} needed)."
    return f"There is no rung before the last of {epochs(study.max_epochs)}, or none of their epochs was scored."


def say_supported(found: Fidelity) -> str:
    """Which grace period the trials speak for."""
    if found.supported is None:
        return (
            f"No grace period is supported by these {found.trials} trials: every one would stop winners; run without "
            "a scheduler (scheduler.name: none)."
        )
    return (
        f"The shortest grace period that these {found.trials} trials support is {epochs(found.supported)} "
        f"(scheduler.grace_epochs: {found.supported})."
    )


def _say_rung(rung: Rung, found: Fidelity, *, first: bool) -> str:
    told = f"After {epochs(rung.epoch)}, Kendall's rank correlation with the final score is {rung.tau:.2f}"
    if first:
        told += f" (n = {found.trials} full-length trials, 95 % interval {rung.low:.2f} to {rung.high:.2f})"
        rule = f"a rung that lets 1 in {found.reduction} go on would stop {rung.lost} of the {rung.winners} winners"
        return f"{told}; {rule}, the best 1 in {max(3, found.reduction)} at full length."
    return f"{told} ({rung.low:.2f} to {rung.high:.2f}; {rung.lost} of {rung.winners} winners stopped)."
