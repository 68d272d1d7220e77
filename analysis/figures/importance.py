"""Which parameters matter? Shares of variance with their intervals."""

from matplotlib.figure import Figure

from analysis.figures import style
from analysis.stats.importance import Importance


def draw(found: Importance, theme: style.Theme) -> Figure:
    """One bar a parameter, largest on top."""
    bars = [(name, values, style.SKY) for name, values in found.shares.items()]
    bars += [
        (f"{name}\n(where active, n = {count})", (share, low, high), style.PURPLE)
        for name, (share, low, high, count) in found.conditional.items()
    ]
    with style.themed(theme):
        figure, axes = style.new(7.2, 0.5 * len(bars) + 1.3)
        for row, (_, values, colour) in enumerate(bars):
            share, low, high = (100 * value for value in values)
            axes.barh(row, share, color=colour, height=0.62)
            axes.plot([low, high], [row, row], color=theme.ink, lw=1.6)
            for end in (low, high):
                axes.plot([end, end], [row - 0.14, row + 0.14], color=theme.ink, lw=1.6)
        axes.set_yticks(range(len(bars)), [label for label, _, _ in bars])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlim(0, 100)
        axes.set_xlabel("share of the score's variance (%), with 95 % bootstrap interval")
        axes.set_title(f"Importance at epoch {found.epoch} (fANOVA, n = {found.trials} trials, {found.seeds})")
    return figure
