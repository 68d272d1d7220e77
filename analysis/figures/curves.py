"""Did the rungs stop the right trials? Learning curves, with the epochs at which the scheduler decided."""

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures import style
from analysis.stats.study import Study


def draw(study: Study, theme: style.Theme) -> Figure:
    """One line a trial, by how it ended."""
    scored = [trial for trial in study.trials if trial.curve]
    with style.themed(theme):
        figure, axes = style.new()
        for state, colour in reversed(style.COLOURS.items()):
            group = [trial for trial in scored if trial.state == state]
            for index, trial in enumerate(group):
                epochs = sorted(trial.curve)
                axes.plot(
                    epochs,
                    [trial.curve[epoch] for epoch in epochs],
                    color=colour,
                    lw=1.5 if state == "complete" else 1,
                    alpha=0.85,
                    label=f"{state} ({len(group)})" if index == 0 else None,
                )
                axes.plot(epochs[-1], trial.curve[epochs[-1]], style.MARKERS[state], color=colour, ms=5)
        for rung in (rung for rung in study.rungs if rung < study.max_epochs):
            axes.axvline(rung, color=theme.faint, lw=1, ls="--")
            axes.text(
                rung, 1.0, f" rung {rung}", transform=axes.get_xaxis_transform(), fontsize=8, color=theme.faint,
                va="top",
            )  # fmt: skip
        axes.set_xlabel("epoch")
        axes.set_ylabel(style.unit(study.metric))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(f"Learning curves by how the trial ended (n = {len(scored)} trials)")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure
