"""Sections on several studies side by side."""

import math
from collections.abc import Sequence
from functools import partial

from analysis.figures import across, forest, style
from analysis.figures.render import Figures
from analysis.sections.section import ReportSection
from analysis.stats.across_studies import Contrast, Entered, contrasts, not_comparable
from analysis.wording.across import EFFECT_HEAD, STUDY_HEAD, effect_row, say_choice, say_contrast, study_row

COLOURS = {"better": style.GREEN, "worse": style.RED, "equivalent": style.BLUE, "undecided": style.ORANGE}


def across_sections(entries: Sequence[Entered], figures: Figures) -> list[ReportSection]:
    """Where each study stands, what must not be compared, the courses of the searches, and every contrast that several
    of them confirmed."""
    bars = not_comparable(entries)
    barred = "Read the scores beside each other with this in mind: " if bars else ""
    found = [
        ReportSection(
            title="Where does each study stand?",
            reading=f"{barred}{'; '.join(bars)}."
            if bars
            else "All studies have one metric, one split and one length: their scores may be compared.",
            figure=None,
            alt="",
            n=f"{len(entries)} studies, {sum(one.runs for one in entries)} runs",
            notes=(
                "The best of a search was chosen by its score, which is too high on average; where the study was "
                "confirmed, its chosen configuration stands there with the interval of its mean over fresh seeds.",
                *(said for one in entries if (said := say_choice(one))),
            ),
            table=(STUDY_HEAD, *(study_row(one) for one in entries)),
        )
    ]
    found += _courses(entries, figures)
    pairs = contrasts(entries)
    found += [_contrast(one, number, figures) for number, one in enumerate(pairs, 1)]
    if not pairs:
        found.append(
            ReportSection(
                title="Which contrast did several of them confirm?",
                reading="None: no two studies confirmed configurations of the same two names, such as top 1 and "
                "defaults, or variants and steps of an ablation that set the same keys, by the same metric.",
                figure=None,
                alt="",
            )
        )
    return found


def _courses(entries: Sequence[Entered], figures: Figures) -> list[ReportSection]:
    """A figure for every metric: scores of two metrics share no axis."""
    sections = []
    metrics = list(dict.fromkeys((one.study.metric, one.study.mode) for one in entries))
    for number, (metric, mode) in enumerate(metrics, 1):
        group = [one for one in entries if (one.study.metric, one.study.mode) == (metric, mode)]
        courses = {one.label: course for one in group if (course := across.course(one.study))}
        if not courses:
            continue
        bars = not_comparable(group)
        sections.append(
            ReportSection(
                title=f"How did the searches go, by {metric}?",
                reading="The best configuration at full length so far, over what the search had cost by then."
                + (f" Levels must not be compared: {'; '.join(bars)}." if bars else ""),
                figure=figures.drawn(f"courses-{number}", partial(across.draw, courses, metric=metric)),
                alt="Incumbent of every study over the epochs of its trials",
                n="; ".join(f"{one.label}: {one.epochs} epochs of {len(one.study.trials)} trials" for one in group),
            )
        )
    return sections


def _contrast(one: Contrast, number: int, figures: Figures) -> ReportSection:
    lines = [
        forest.Line(
            label=f"{effect.label} (n = {effect.pairs})",
            value=effect.effect,
            interval=(effect.low, effect.high) if math.isfinite(effect.low) else None,
            colour=COLOURS[effect.kind],
            group=effect.kind,
        )
        for effect in one.effects
    ]
    answer = one.pooled
    lines.append(
        forest.Line(
            label=f"over {answer.studies} studies",
            value=answer.mean,
            interval=(answer.low, answer.high),
            colour=COLOURS[answer.kind],
            group=answer.kind,
        )
    )
    title = f"{one.first} minus {one.second}, above 0 the first is better"
    unit = f"difference in {style.unit(one.metric)}"
    return ReportSection(
        title=f"{one.first} against {one.second}",
        reading=say_contrast(one),
        figure=figures.drawn(f"contrast-{number}", partial(forest.draw, lines, title=title, unit=unit)),
        alt="Paired difference in every study and over all of them, with intervals",
        n=f"{answer.studies} studies, {sum(effect.pairs for effect in one.effects)} pairs of runs",
        notes=(
            "Each study counts once, with the mean paired difference of its own confirmation. The last row's interval "
            "is Student's t over these, for studies of this kind of which these are a sample; the others are each "
            "study's own, over its seeds.",
            *(f"Note: {note}." for note in one.notes),
        ),
        table=(EFFECT_HEAD, *(effect_row(effect) for effect in one.effects)),
    )
