"""Do early epochs tell? Rank correlation of every rung with the final score."""

from matplotlib.figure import Figure

from analysis.figures import style
from analysis.stats.rung_correlation import Fidelity
from analysis.stats.study import StudyTrials


def draw(found: Fidelity, study: StudyTrials, theme: style.Theme) -> Figure:
    """One point a rung, with its interval; rungs that stop winners are marked."""
    with style.themed(theme):
        figure, axes = style.new(height=3.0)
        for position, rung in enumerate(found.rungs):
            colour, marker = (style.RED, "X") if rung.too_early else (style.BLUE, "o")
            axes.plot([position, position], [rung.low, rung.high], color=colour, lw=1.8)
            axes.plot(position, rung.tau, marker, color=colour, ms=8, zorder=3)
            axes.annotate(
                f"{rung.lost} of {rung.winners} winners stopped",
                (position, rung.tau),
                xytext=(9, 0),
                textcoords="offset points",
                va="center",
                fontsize=0.84 * theme.font,
                color=theme.faint,
            )
        axes.axhline(0, color=theme.faint, lw=1)
        axes.set_xticks(range(len(found.rungs)), [str(rung.epoch) for rung in found.rungs])
        axes.set_xlim(-0.5, len(found.rungs) - 0.2)
        axes.set_ylim(min(-0.1, *(rung.low for rung in found.rungs)) - 0.05, 1.05)
        axes.set_xlabel(f"rung (epoch of {study.max_epochs})")
        axes.set_ylabel("Kendall's rank correlation")
        axes.set_title(f"Scores at the rungs against final scores (n = {found.trials} full-length trials)")
    return figure
