"""Sections on the search: its course, its parameters, its rungs."""

import math
from collections.abc import Sequence
from functools import partial

from analysis.figures import comparison, forest, incumbent, parallel, parameters, rung_correlation, style
from analysis.figures.render import Figures
from analysis.sections import unanswered
from analysis.sections.section import Part, ReportSection
from analysis.stats.all_choices import Rival, rivals, structural
from analysis.stats.rung_correlation import fidelity as rung_fidelity
from analysis.stats.sensitivity.external_evidence import ExternalPair
from analysis.stats.study import DRAWN, StudyTrials
from analysis.stats.two_choices import compare
from analysis.wording import choices, rungs, sensitivity

DISTANCE = "interpixel.distance"


def search_sections(study: StudyTrials, figures: Figures, confirmed: Sequence[ExternalPair] = ()) -> list[Part]:
    """One section for each question that a search's trials can answer, its course first; none before the first
    score. ``confirmed``: pairs of choices that were run with several seeds."""
    scored = sum(bool(trial.curve) for trial in study.trials)
    if scored == 0:
        return []
    trials = f"{scored} trials, {study.seeds_each()}"
    found: list[Part] = [
        ReportSection(
            title="How did the search go?",
            reading=f"{scored} trials have a score. The incumbent is the best of those that ran all "
            f"{study.max_epochs} epochs.",
            figure=figures.drawn("progress", partial(incumbent.draw, study)),
            alt="Score of every trial in the order of its end, with the incumbent",
            n=f"{trials}; {len(study.complete)} of them ran all {study.max_epochs} epochs",
        )
    ]
    found += [_rivals(study, name, figures) for name in structural(study)]
    left = len(study.parameters) - len(study.drawn_parameters)
    cut = f"Drawn are the {DRAWN} parameters that were active in most trials; {left} others are in the tables."
    notes = (cut,) if left else ()
    if study.parameters:
        found += [
            ReportSection(
                title="How did the score change with each parameter?",
                reading="Compare dots of one colour only: a darker dot ran fewer epochs, and had less time to score."
                if len(study.lengths()) > 1
                else "Each dot is a trial.",
                figure=figures.drawn("parameters", partial(parameters.draw, study)),
                alt="Scatter of every parameter against the last score",
                n=f"{trials}, {study.lengths_each()}",
                notes=notes,
            ),
            ReportSection(
                title="Which combinations did well?",
                reading="Each line is a trial; a line that breaks has a parameter that was not active in it.",
                figure=figures.drawn("parallel", partial(parallel.draw, study)),
                alt="Parallel coordinates of all trials",
                n=f"{trials}, {study.lengths_each()}",
                notes=notes,
                interactive="parallel",
            ),
        ]
    if {"kl", "cr"} <= set((study.space.get(DISTANCE) or {}).get("choices") or ()):
        found.append(_distance(study, figures, [one for one in confirmed if one.name == DISTANCE]))
    return [*found, _fidelity(study, figures)]


def _fidelity(study: StudyTrials, figures: Figures) -> Part:
    title, told = "Do early epochs tell?", rung_fidelity(study)
    if told is None:
        return unanswered.no_fidelity(title, study)
    return ReportSection(
        title=title,
        reading=rungs.say_fidelity(told, study),
        figure=figures.drawn("fidelity", partial(rung_correlation.draw, told, study)),
        alt="Rank correlation of every rung's scores with the final scores, with intervals",
        n=f"{told.trials} trials of full length, {study.seeds_each()}",
    )


def _distance(study: StudyTrials, figures: Figures, confirmed: Sequence[ExternalPair]) -> Part:
    """Where the search has too few trials of either, the confirmed pair alone, if there is one."""
    title, pair = "KL or CR?", compare(study, DISTANCE, first="kl", second="cr")
    notes = tuple(sensitivity.say_pair(one) for one in confirmed)
    if pair is None or pair.difference is None:
        if not notes:
            return unanswered.no_pair(title, pair, first="KL", second="CR")
        return ReportSection(
            title=title, reading=" ".join(notes), figure=None, alt="", n="paired seeds of the confirmation"
        )
    return ReportSection(
        title=title,
        reading=choices.say_comparison(pair, first="kl", second="cr"),
        figure=figures.drawn("kl-cr", partial(comparison.draw, pair, unit=style.unit(study.metric))),
        alt="Scores of trials with KL and with CR at the same budget",
        n=f"{len(pair.first_scores)} trials with KL, {len(pair.second_scores)} with CR, at epoch {pair.epoch}; "
        f"{pair.seeds}",
        notes=notes,
    )


def _rivals(study: StudyTrials, name: str, figures: Figures) -> Part:
    title, found = f"Which {name}?", rivals(study, name)
    if found is None:
        return unanswered.no_choice(title, name)
    leader, others = found.ranked[0], [(one, one.difference) for one in found.ranked[1:] if one.difference]
    lines = [
        forest.Line(
            label=f"{leader.value} − {one.value} (n = {len(one.scores)})",
            value=value,
            interval=(low, high) if math.isfinite(low) else None,
            colour=style.ORANGE if low <= 0 <= high else style.BLUE,
            group="undecided" if low <= 0 <= high else "apart",
        )
        for one, (value, low, high) in others
    ]
    above = f"{leader.value} (n = {len(leader.scores)}) against the others after {found.epoch} epochs"
    unit = f"difference of means in {style.unit(study.metric)}"
    few = ", ".join(f"{value} ({count})" for value, count in found.few)
    failed = ", ".join(f"{value} ({count})" for value, count in found.failed)
    return ReportSection(
        title=title,
        reading=choices.say_rivals(found, full=study.max_epochs),
        figure=figures.drawn(f"rivals-{name}", partial(forest.draw, lines, title=above, unit=unit)),
        alt=f"Difference of the leading {name} from every other, with intervals",
        n=f"{found.trials} trials of {len(found.ranked)} choices after {found.epoch} epochs, {found.seeds}",
        notes=(
            *((f"Too few trials for an interval: {few}.",) if few else ()),
            *((f"Trials that failed, which count with what they scored before: {failed}.",) if failed else ()),
        ),
        table=(
            (name, "trials", "mean", "lowest", "highest", "behind the first", "interval"),
            *(_row(one) for one in found.ranked),
        ),
    )


def _row(one: Rival) -> tuple[str, ...]:
    figures = (f"{score:.2f}" for score in (one.mean, min(one.scores), max(one.scores)))
    if one.difference is None:
        behind: tuple[str, ...] = ("", "")
    else:
        value, low, high = one.difference
        behind = (f"{value:.2f}", f"{low:.2f} to {high:.2f}" if math.isfinite(low) else "no spread")
    return (one.value, str(len(one.scores)), *figures, *behind)
