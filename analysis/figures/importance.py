"""Which parameters matter? Shares of variance with their intervals."""

from matplotlib.figure import Figure

from analysis.figures import style
from analysis.stats.importance import Importance


def draw(found: Importance, theme: style.Theme) -> Figure:
    """One bar a parameter, largest on top."""
    names = list(found.shares)
    with style.themed(theme):
        figure, axes = style.new(7.2, 0.42 * len(names) + 1.3)
        for row, name in enumerate(names):
            share, low, high = (100 * value for value in found.shares[name])
            axes.barh(row, share, color=style.SKY, height=0.62)
            axes.plot([low, high], [row, row], color=theme.ink, lw=1.6)
            for end in (low, high):
                axes.plot([end, end], [row - 0.14, row + 0.14], color=theme.ink, lw=1.6)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlim(0, 100)
        axes.set_xlabel("share of the score's variance (%), with 95 % bootstrap interval")
        axes.set_title(f"Importance at epoch {found.epoch} (fANOVA, n = {found.trials} trials, 1 run each)")
    return figure
