"""Is one choice better than the other? Scores of both at the same budget, and their difference."""

import numpy as np
from matplotlib.figure import Figure

from analysis.figures import style
from analysis.stats.two_choices import Comparison


def draw(found: Comparison, theme: style.Theme, *, unit: str) -> Figure:
    """Every trial a dot, the mean a line."""
    with style.themed(theme):
        figure, axes = style.new(7.2, 3.2)
        rng = np.random.default_rng(0)
        groups = ((found.first, found.first_scores, style.BLUE), (found.second, found.second_scores, style.ORANGE))
        for column, (_, scores, colour) in enumerate(groups):
            x = column + rng.uniform(-0.12, 0.12, len(scores))
            axes.scatter(x, scores, color=colour, s=34, zorder=3)
            axes.plot([column - 0.25, column + 0.25], [np.mean(scores)] * 2, color=theme.ink, lw=2)
        axes.set_xticks([0, 1], [f"{name.upper()} (n = {len(scores)})" for name, scores, _ in groups])
        axes.set_xlim(-0.6, 1.6)
        axes.set_ylabel(unit)
        axes.set_title(
            f"{found.name} at epoch {found.epoch} (n = {len(found.first_scores) + len(found.second_scores)} trials; "
            "lines: means)"
        )
    return figure
