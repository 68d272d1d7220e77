"""Sections on classes and on learning curves over seeds."""

from functools import partial
from pathlib import Path

from analysis.figures import bands, forest, style
from analysis.figures.render import Figures
from analysis.ingest.tables import Tables
from analysis.sections import unanswered
from analysis.sections.section import Part, ReportSection
from analysis.stats.confirm.results import Confirmed
from analysis.stats.per_class import ClassChanges, class_changes, lost_classes, rival, seed_bands
from analysis.stats.study import StudyTrials, Trial
from analysis.wording import sensitivity


def class_sections(
    study: StudyTrials, tables: Tables, figures: Figures, confirmation: Confirmed | None = None
) -> list[Part]:
    """None before a run has come to the end.

    Args:
        study: the runs to read: those of the confirmation, where there is one.
        confirmation: says which two configurations to compare.
    """
    best, other = _leading(study) if confirmation is None else chosen(study, confirmation)
    if best is None or best.state != "complete":
        return []
    found = None if other is None else class_changes(study, tables, best, other)
    parts = [_classes(found, figures, confirmed=confirmation is not None), _bands(study, figures)]
    return [*_lost(study, tables, best), *parts]


def _lost(study: StudyTrials, tables: Tables, best: Trial) -> list[Part]:
    """Said only where it is so: that every class is found is what everyone expects."""
    found = lost_classes(study, tables, best)
    if not found:
        return []
    runs = len(study.configurations.get(best.settings, (best,)))
    return [
        ReportSection(
            title="Which classes did the winner never find?",
            reading=sensitivity.say_lost(found, best),
            figure=None,
            alt="",
            n=f"{runs} run{'s' * (runs != 1)}, every evaluation",
        )
    ]


def _classes(found: ClassChanges | None, figures: Figures, *, confirmed: bool) -> Part:
    title = "Which classes gain, and which lose?"
    if found is None:
        return unanswered.no_classes(title, confirmed=confirmed)
    return ReportSection(
        title=title,
        reading=sensitivity.say_classes(found),
        figure=_drawn(found, figures),
        alt="Change of IoU by class, with intervals over seeds",
        n=f"{found.seeds} paired seeds",
    )


def _bands(study: StudyTrials, figures: Figures) -> Part:
    title, curves = "How do seeds spread on the way?", seed_bands(study)
    if not curves:
        return unanswered.no_bands(title)
    return ReportSection(
        title=title,
        reading=sensitivity.say_bands(curves),
        figure=figures.drawn("seed-bands", partial(bands.draw, study, curves)),
        alt="Mean learning curves over seeds with bands",
        n=study.seeds_each(),
    )


def _leading(study: StudyTrials) -> tuple[Trial | None, Trial | None]:
    best = study.best()
    return best, None if best is None else rival(study, best)


def chosen(study: StudyTrials, confirmation: Confirmed) -> tuple[Trial | None, Trial | None]:
    """A run of the arm that leads and one of its rival."""
    if confirmation.choice is None:
        return _leading(study)
    names = confirmation.choice.arm, confirmation.rival(confirmation.choice.arm)
    first, second = (next((run for run in study.complete if run.arm == name), None) for name in names)
    return first, second


def _drawn(found: ClassChanges, figures: Figures) -> Path:
    lines = [
        forest.Line(
            label=one.name,
            value=one.change,
            interval=(one.low, one.high),
            colour=style.GREEN if one.low > 0 else style.RED if one.high < 0 else style.BLUE,
            group="gains" if one.low > 0 else "loses" if one.high < 0 else "not settled",
        )
        for one in found.classes
    ]
    title = f"{found.first.called} minus {found.second.called}, {found.seeds} paired seeds"
    unit = "change of IoU in points, simultaneous intervals"
    return figures.drawn("classes", partial(forest.draw, lines, title=title, unit=unit))
