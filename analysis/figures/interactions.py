"""Which parameters act together? Maps of the score over two of them, as differences from its mean."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from analysis.figures import style
from analysis.figures.ticks import log_ticks
from analysis.stats.sensitivity.effects import PairMap
from analysis.stats.sensitivity.surrogate import Surrogate

DIFFERENCE = "from the mean"


def draw(surrogate: Surrogate, found: Sequence[PairMap], theme: style.Theme) -> Figure:
    """Above the difference, below its standard deviation; dots are trials."""
    with style.themed(theme):
        figure, grid = style.new(3.5 * len(found), 5.4, nrows=2, ncols=len(found), squeeze=False)
        for column, one in enumerate(found):
            for row, (table, label) in enumerate(((one.difference, DIFFERENCE), (one.deviation, "standard deviation"))):
                axes = grid[row][column]
                _map(axes, surrogate, one, table, label, figure)
            grid[0][column].set_title(f"n = {one.trials} trials")
        figure.suptitle(
            f"{style.unit(surrogate.study.metric)} at epoch {surrogate.study.max_epochs}, mean over all else,\n"
            "as a difference from the mean over the space",
            x=0.01, ha="left", fontsize=11,
        )  # fmt: skip
    return figure


def _map(axes: Any, surrogate: Surrogate, one: PairMap, table: Any, label: str, figure: Figure) -> None:
    axes.grid(visible=False)
    first, second = (surrogate.basis.axes[surrogate.basis.names.index(name)] for name in (one.first, one.second))
    x, y = (
        list(range(len(values))) if axis.choices is not None else list(values)
        for axis, values in ((first, one.first_values), (second, one.second_values))
    )
    drawn = axes.pcolormesh(
        x, y, table, cmap="viridis" if label == DIFFERENCE else "magma", shading="nearest", rasterized=True
    )
    figure.colorbar(drawn, ax=axes, label=label)
    for axis, values, scale, ticks, side in (
        (first, one.first_values, axes.set_xscale, axes.set_xticks, axes.xaxis),
        (second, one.second_values, axes.set_yscale, axes.set_yticks, axes.yaxis),
    ):
        if axis.choices is not None:
            ticks(range(len(values)), [str(value) for value in values])
        elif axis.log:
            scale("log")
            log_ticks(side, min(values), max(values))
    has = [trial for trial in surrogate.trials if one.first in trial.values and one.second in trial.values]
    dots = [
        [axis.unit(trial.values[axis.name]) if axis.choices is not None else trial.values[axis.name] for trial in has]
        for axis in (first, second)
    ]
    axes.scatter(*dots, s=7, facecolors="none", edgecolors="white", linewidths=0.6)
    axes.set_xlabel(one.first)
    axes.set_ylabel(one.second)
