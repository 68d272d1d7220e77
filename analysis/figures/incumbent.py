"""How did the search go? Every trial's last score in the order of its end, and the incumbent."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures import style
from analysis.stats.best import Standings
from analysis.stats.study import StudyTrials, Trial


def draw(study: StudyTrials, theme: style.Theme) -> Figure:
    """The incumbent is the best so far, by the rule of `analysis.stats.best`, among trials that ran all their
    epochs."""
    with style.themed(theme):
        figure, axes = style.new()
        scored = sorted((trial for trial in study.trials if trial.curve), key=lambda trial: trial.ended_at)
        order = {trial.number: position for position, trial in enumerate(scored, 1)}
        for state, colour in style.COLOURS.items():
            group = [trial for trial in scored if trial.state == state]
            if group:
                axes.scatter(
                    [order[trial.number] for trial in group],
                    [trial.score for trial in group],
                    marker=style.MARKERS[state],
                    color=colour,
                    s=34 if len(scored) <= style.MANY else 14,
                    label=f"{state} ({len(group)})",
                    zorder=3,
                    rasterized=len(scored) > style.MANY,
                )
        known = incumbents(study, scored)
        if known:
            known.append((len(scored) + 0.5, known[-1][1]))
            axes.step(*zip(*known, strict=True), where="post", color=theme.ink, lw=1.6, label=_label(study))
        axes.set_xlabel("trials ended, in order of their end")
        axes.set_ylabel(style.unit(study.metric))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(f"Score of every trial and the incumbent (n = {len(scored)} trials)")
        style.legend(figure, axes, theme)
    return figure


def incumbents(study: StudyTrials, ended: Sequence[Trial]) -> list[tuple[float, float]]:
    """After every trial that ran all its epochs: its place in the order of the ends, from 1, and the score of the best
    configuration by then, a mean over the seeds that had ended."""
    second_sign = None if study.second_objective is None else study.second_objective.sign
    found = Standings(max_epochs=study.max_epochs, sign=study.sign, second_sign=second_sign, barred=study.barred)
    steps: list[tuple[float, float]] = []
    for place, trial in enumerate(ended, 1):
        if trial.scored is not None and found.add(trial.scored) and found.best is not None and found.best.full:
            steps.append((float(place), found.best.score))
    return steps


def _label(study: StudyTrials) -> str:
    return "incumbent, mean over its seeds" if study.searched_seeds else "incumbent"
