"""Studies side by side: the incumbent of each over the epochs that its trials had run by then."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from analysis.figures import style
from analysis.stats.best import Standings
from analysis.stats.study import StudyTrials

LINES = ("-", "--", ":", "-.")
"""In turn with the colours, so that more studies than colours are told apart, and all of them without colours."""


def draw(courses: Mapping[str, Sequence[tuple[float, float]]], theme: style.Theme, *, metric: str) -> Figure:
    """A step line a study.

    Args:
        courses: by the study's label what :func:`course` gives.
        metric: of the scores.
    """
    colours = (style.BLUE, style.ORANGE, style.GREEN, style.RED, style.PURPLE, style.SKY)
    with style.themed(theme):
        figure, axes = style.new()
        for number, (label, course) in enumerate(courses.items()):
            colour, line = colours[number % len(colours)], LINES[number % len(LINES)]
            axes.step(*zip(*course, strict=True), where="post", color=colour, ls=line, lw=1.6, label=label)
            axes.plot(*course[-1], "o", color=colour, ms=4)
        axes.set_xlabel("epochs of all trials together")
        axes.set_ylabel(style.unit(metric))
        axes.set_title(f"Incumbent of each study (n = {len(courses)} studies)")
        style.legend(figure, axes, theme)
    return figure


def course(study: StudyTrials) -> list[tuple[float, float]]:
    """The score of the best configuration at full length, by the rule of `analysis.stats.best`, after so many epochs of
    all trials together, which count when their trial ends; up to the end of the search."""
    second = None if study.second_objective is None else study.second_objective.sign
    found = Standings(max_epochs=study.max_epochs, sign=study.sign, second_sign=second, barred=study.barred)
    steps: list[tuple[float, float]] = []
    spent = 0
    for trial in sorted(study.trials, key=lambda trial: trial.ended_at):
        spent += trial.epochs
        if trial.scored is not None and found.add(trial.scored) and found.best is not None and found.best.full:
            steps.append((float(spent), found.best.score))
    return [*steps, (float(spent), steps[-1][1])] if steps else []
