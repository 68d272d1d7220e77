"""The section on two objectives."""

from functools import partial

from analysis.figures import pareto as figure
from analysis.figures.render import Figures
from analysis.figures.style import unit
from analysis.sections import unanswered
from analysis.sections.section import Part, ReportSection
from analysis.stats.pareto import Pareto
from analysis.stats.study import StudyTrials
from analysis.wording.pareto import front_of, say_front
from analysis.wording.phrases import shown


def pareto_sections(study: StudyTrials, figures: Figures) -> list[Part]:
    """The front, where the study has two objectives and a score."""
    second = study.second_objective
    if second is None or not any(trial.curve for trial in study.trials):
        return []
    title, found = f"What does {study.metric} cost in {second.metric}?", front_of(study)
    if found is None:
        return [unanswered.no_front(title, study)]
    return [
        ReportSection(
            title=title,
            reading=say_front(found, study),
            figure=figures.drawn("pareto", partial(figure.draw, found, study)),
            alt=f"{unit(study.metric)} of every configuration over {unit(second.metric)}, with the Pareto front",
            table=_table(found, study),
        )
    ]


def _table(found: Pareto, study: StudyTrials) -> tuple[tuple[str, ...], ...]:
    """The front, best first."""
    assert study.second_objective is not None
    names = [name for name in study.parameters if any(name in point.trial.values for point in found.front)]
    rows = [
        (
            str(point.trial.number),
            f"{point.score:.2f}",
            f"{point.second_score:.4g}",
            str(point.seeds),
            *(shown(point.trial.values.get(name), none="–") for name in names),
        )
        for point in found.front
    ]
    return (("trial on the front", study.metric, study.second_objective.metric, "seeds", *names), *rows)
