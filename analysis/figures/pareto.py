"""What does one objective cost in the other? Every configuration by both, and the Pareto front."""

from typing import Any

from matplotlib.figure import Figure

from analysis.figures import style
from analysis.stats.pareto import Pareto, Point
from analysis.stats.study import StudyTrials
from analysis.units import amount


def draw(found: Pareto, study: StudyTrials, theme: style.Theme) -> Figure:
    """The steps are what the front reaches; the band below is as deep as seeds differ. Numbers are trials."""
    second = study.second_objective
    assert second is not None
    with style.themed(theme):
        figure, axes = style.new(7.2, 4.0)
        others = [point for point in found.points if not point.on_front]
        front = sorted(found.front, key=lambda point: point.second_score)
        if others:
            axes.scatter(
                [point.second_score for point in others],
                [point.score for point in others],
                color=style.BLUE,
                s=30,
                label=f"off the front ({len(others)})",
                zorder=3,
            )
        axes.scatter(
            [point.second_score for point in front],
            [point.score for point in front],
            marker="D",
            color=style.RED,
            s=38,
            label=f"on the front ({len(front)})",
            zorder=4,
        )
        axes.margins(0.09)
        _steps(axes, found, front, study, theme)
        away, side = (-5, "right") if second.sign < 0 else (5, "left")
        for point in front:
            axes.annotate(
                str(point.trial.number),
                (point.second_score, point.score),
                (away, 4),
                textcoords="offset points",
                ha=side,
            )
        axes.set_xlabel(f"{style.unit(second.metric)}, {'more' if second.sign > 0 else 'less'} is better")
        axes.set_ylabel(style.unit(study.metric))
        axes.set_title(f"Pareto front ({_count(found, study)})")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _steps(axes: Any, found: Pareto, front: list[Point], study: StudyTrials, theme: style.Theme) -> None:
    """The best score that is had at a price: constant from a member of the front on to the next dearer one, and out of
    the frame from the dearest."""
    assert study.second_objective is not None
    less = study.second_objective.sign < 0
    low, high = axes.get_xlim()
    places, scores = [point.second_score for point in front], [point.score for point in front]
    places = [*places, high] if less else [low, *places]
    scores = [*scores, scores[-1]] if less else [scores[0], *scores]
    how: Any = "post" if less else "pre"
    axes.step(places, scores, where=how, color=theme.ink, lw=1.2, zorder=2)
    if found.noise is not None:
        worse = [score - study.sign * found.noise for score in scores]
        axes.fill_between(
            places,
            scores,
            worse,
            step=how,
            color=theme.faint,
            alpha=0.25,
            lw=0,
            label=f"within {amount(f'{found.noise:.3g}', study.metric)}",
        )
    axes.set_xlim(low, high)


def _count(found: Pareto, study: StudyTrials) -> str:
    trials = sum(trial.second_score is not None for trial in study.complete)
    return f"n = {len(found.points)} configurations, {trials} trials that ran all {study.max_epochs} epochs"
