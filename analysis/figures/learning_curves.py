"""Did the rungs stop the right trials? Learning curves, with the epochs at which the scheduler decided."""

from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures import style
from analysis.stats.study import StudyTrials


def draw(study: StudyTrials, theme: style.Theme) -> Figure:
    """One line a trial, by how it ended."""
    scored = [trial for trial in study.trials if trial.curve]
    with style.themed(theme):
        figure, axes = style.new()
        many = len(scored) > style.MANY
        for state, colour in reversed(style.COLOURS.items()):
            group = [trial for trial in scored if trial.state == state]
            if not group:
                continue
            width = 1.5 if state == "complete" else 1
            lines = [sorted(trial.curve.items()) for trial in group]
            axes.add_collection(
                LineCollection(lines, colors=colour, lw=width, alpha=0.25 if many else 0.85, rasterized=many)
            )
            ends = {"marker": style.MARKERS[state], "alpha": 0.5 if many else 1, "rasterized": many, "zorder": 3}
            axes.scatter(*zip(*(line[-1] for line in lines), strict=True), s=22, color=colour, **ends)
            axes.plot([], [], color=colour, lw=width, marker=style.MARKERS[state], label=f"{state} ({len(group)})")
        axes.autoscale()
        for rung in (rung for rung in study.rungs if rung < study.max_epochs):
            axes.axvline(rung, color=theme.faint, lw=1, ls="--")
            axes.text(
                rung, 1.0, f" rung {rung}", transform=axes.get_xaxis_transform(), color=theme.faint, va="top",
                fontsize=0.84 * theme.font,
            )  # fmt: skip
        axes.set_xlabel("epoch")
        axes.set_ylabel(style.unit(study.metric))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(f"Learning curves by how the trial ended (n = {len(scored)} trials)")
        style.legend(figure, axes, theme)
    return figure
