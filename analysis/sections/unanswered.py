"""Questions that a study cannot answer: for each, what is missing and what would answer it. No drawing, no HTML."""

from collections.abc import Iterable
from dataclasses import replace

from analysis.ingest.tables import Tables
from analysis.sections.section import Part, Unanswered
from analysis.stats.per_class import LEAST as LEAST_SEEDS
from analysis.stats.rung_correlation import LEAST as LEAST_FULL
from analysis.stats.sensitivity.cross_validation import Check
from analysis.stats.sensitivity.surrogate import Surrogate
from analysis.stats.sensitivity.surrogate_data import LEAST as LEAST_SCORED
from analysis.stats.study import StudyTrials
from analysis.stats.two_choices import LEAST as LEAST_EACH
from analysis.stats.two_choices import Comparison
from analysis.wording.rungs import why_no_fidelity
from analysis.wording.sensitivity import say_collapsed

OURS = "training config"
"""What a study calls a config of our own trainer."""
CONFIRM = "Confirm the study (a confirm section, then ipix-tune confirm)"


def for_this_trainer(parts: Iterable[Part], tables: Tables) -> list[Part]:
    """The parts of a report without questions that another trainer never answers; and where its runs cannot be paired,
    that is said instead of the advice to confirm."""
    by = (tables.facts.get("trains") or {}).get("by", OURS)
    found = [one for one in parts if not (isinstance(one, Unanswered) and one.of_ours and by != OURS)]
    if tables.unpaired is None:
        return found
    instead = f"Runs that are paired by seeds, which this study cannot have: {tables.unpaired}."
    return [replace(one, what_would=instead) if isinstance(one, Unanswered) and one.by_pairs else one for one in found]


def no_choice(title: str, name: str) -> Unanswered:
    """Too few trials of the values of a structural choice."""
    return Unanswered(
        title=title,
        why=f"Fewer than two values of {name} have {LEAST_EACH} configurations (or {LEAST_EACH} seeds of all that they "
        "have) with a score after the same number of epochs.",
        what_would=f"More trials (budget.trials), or fewer values of {name}; {CONFIRM[0].lower()}{CONFIRM[1:]} to "
        "compare two of them with equal seeds.",
    )


def no_pair(title: str, found: Comparison | None, *, first: str, second: str) -> Unanswered:
    """Too few trials of one of two choices."""
    if found is None:
        why = f"No number of epochs was reached by trials of both {first} and {second}."
    else:
        one, other = found.configurations
        why = (
            f"Configurations with a score after {found.epoch} epochs: {one} with {first}, {other} with {second}. An "
            f"interval needs {LEAST_EACH} of each, or {LEAST_EACH} seeds that all of them ran with, and scores that "
            "differ."
        )
    contrast = f"{CONFIRM} with the two as a contrast (confirm.contrast): paired seeds, all else equal."
    return Unanswered(title=title, why=why, what_would=contrast, by_pairs=True)


def no_fidelity(title: str, study: StudyTrials) -> Unanswered:
    """The rungs cannot be compared with the end."""
    full = sum(trial.epochs == study.max_epochs for trial in study.complete)
    would = (
        f"{LEAST_FULL - full} more trials that run all {study.max_epochs} epochs (budget.trials, or "
        "ipix-tune sweep STUDY.yaml --calibrate 12)."
        if full < LEAST_FULL
        else "A scheduler with a rung before the last epoch, on an epoch that is evaluated (evaluation.every)."
    )
    return Unanswered(title=title, why=why_no_fidelity(study), what_would=would)


def no_surrogate(title: str, study: StudyTrials) -> Unanswered:
    """There is no surrogate."""
    scored = sum(bool(trial.curve) for trial in study.trials)
    full = sum(study.max_epochs in trial.curve for trial in study.trials)
    return Unanswered(
        title=title,
        why=f"A surrogate needs at least {LEAST_SCORED} trials with scores that differ, one of them at full length; "
        f"here {scored} have a score, {full} at {study.max_epochs} epochs.",
        what_would="More trials (budget.trials).",
    )


def unusable_surrogate(title: str, surrogate: Surrogate, check: Check) -> Unanswered:
    """There is a surrogate, and it predicts no better than the mean."""
    value, low, high = check.skill
    return Unanswered(
        title=title,
        why=f"A surrogate of {surrogate.rows} scores of {len(surrogate.trials)} trials is not shown to predict better "
        f"than a guess of their mean: on trials left out its squared error is {100 * (1 - value):.0f} % of a guess's "
        f"(95 % interval {100 * (1 - high):.0f} to {100 * (1 - low):.0f} %).{say_collapsed(surrogate)}",
        what_would="More trials (budget.trials), or scores with less noise: more held-out images "
        "(data.holdout.images) where scores are measured on such, longer training. Where no searched parameter "
        "matters, no number of trials will.",
    )


def no_seed_noise(title: str) -> Unanswered:
    """No configuration was run twice."""
    return Unanswered(
        title=title,
        why="No configuration was run with several seeds.",
        what_would=f"{CONFIRM}: it runs the leading configurations with paired seeds.",
        by_pairs=True,
    )


def no_classes(title: str, *, confirmed: bool) -> Unanswered:
    """No pair of configurations can be compared. ``confirmed``: the runs are those of a confirmation."""
    return Unanswered(
        title=title,
        why=f"No two configurations ran to the end with at least {LEAST_SEEDS} seeds in common and the scores of their "
        "classes."
        if confirmed
        else f"No other configuration ran to the end with at least {LEAST_SEEDS} of the leading one's seeds, or "
        "classes were not scored.",
        what_would="More seeds (ipix-tune confirm --more-seeds), with classes scored in every run."
        if confirmed
        else f"{CONFIRM}: it runs such pairs.",
        by_pairs=True,
        of_ours=True,
    )


def no_images(title: str) -> Unanswered:
    """No two runs can be compared image by image."""
    return Unanswered(
        title=title,
        why="No two configurations ran to the end with the same seed and left their held-out images in W&B's files on "
        "this disk.",
        what_would="A study with evaluation.pictures above 0, in which two configurations run all their epochs with "
        f"one seed; or {CONFIRM[0].lower()}{CONFIRM[1:]}.",
        of_ours=True,
    )


def no_bands(title: str) -> Unanswered:
    """No configuration has several full curves."""
    return Unanswered(
        title=title,
        why="Every configuration ran to the end with one seed at most.",
        what_would=f"{CONFIRM}, or search seed as a grid.",
        by_pairs=True,
    )


def no_front(title: str, study: StudyTrials) -> Unanswered:
    """No trial has both objectives at the end."""
    assert study.second_objective is not None
    return Unanswered(
        title=title,
        why=f"No trial that ran all its epochs has both {study.metric} and {study.second_objective.metric}.",
        what_would="Trials that run all their epochs: a larger budget, or a scheduler that stops fewer.",
    )
