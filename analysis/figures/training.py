"""How one run trained: its loss terms, and the share of Omega."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures import style
from analysis.figures.ticks import log_ticks

WIDE = 20
"""Ratio of the largest to the smallest value above which the axis is logarithmic."""


def draw(
    terms: Mapping[str, Mapping[int, float]], omega: Mapping[int, float], theme: style.Theme, *, called: str
) -> Figure:
    """Loss terms by epoch on a logarithmic axis where they differ much; below them Omega, where there is one."""
    colours = (style.BLUE, style.ORANGE, style.GREEN, style.RED, style.PURPLE, style.SKY)
    with style.themed(theme):
        panels = 2 if omega else 1
        ratios = {"height_ratios": [2, 1][:panels]}
        figure, found = style.new(7.2, 2.2 + 1.4 * panels, nrows=panels, sharex=True, squeeze=False, gridspec_kw=ratios)
        axes = found[0][0]
        for (name, curve), colour in zip(terms.items(), colours * (1 + len(terms) // len(colours)), strict=False):
            axes.plot(list(curve), list(curve.values()), color=colour, lw=1.6, label=name)
        values = [value for curve in terms.values() for value in curve.values()]
        if min(values) > 0 and max(values) > WIDE * min(values):
            axes.set_yscale("log")
            log_ticks(axes.yaxis, min(values), max(values))
        axes.set_ylabel("loss term")
        axes.set_title(f"Mean over each epoch's steps, {called}")
        style.legend(figure, axes, theme)
        if omega:
            below = found[1][0]
            below.plot(list(omega), [100 * value for value in omega.values()], color=style.BLUE, lw=1.6)
            below.set_ylim(0, 100)
            below.set_ylabel("Omega (%)")
        found[-1][0].set_xlabel("epoch")
        found[-1][0].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
