"""Is it better? Scores of every arm seed by seed, and the difference of every compared pair with its interval."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import style
from analysis.stats.confirm.results import Confirmed
from analysis.units import amount

COLOURS = {"better": style.GREEN, "worse": style.RED, "equivalent": style.BLUE, "undecided": style.ORANGE}
MARKERS = {"better": "^", "worse": "v", "equivalent": "s", "undecided": "o"}
ROW = 0.34
"""Height of a row in inches."""
LABEL = 28
"""Characters of a label's line."""


def draw(found: Confirmed, theme: style.Theme) -> Figure:
    """Above: a row an arm, a dot a seed, the dots of one seed joined; the bar is the mean of typical runs, and
    collapsed ones are hollow. Below: a row a comparison, above 0 the first one is better; the band is within delta."""
    arms, pairs = len(found.arms), len(found.judgement.verdicts)
    with style.themed(theme):
        figure = Figure(figsize=(7.2, 1.9 + ROW * 1.35 * (arms + pairs)))
        above, below = figure.subplots(2, height_ratios=[arms + 1, pairs + 1])
        _scores(found, above, theme)
        _effects(found, below, theme)
        if below.get_legend_handles_labels()[0]:
            figure.legend(loc="outside lower center", ncols=4)
    return figure


def _scores(found: Confirmed, axes: Axes, theme: style.Theme) -> None:
    rows = np.arange(len(found.arms))[::-1]
    for seed in sorted({seed for arm in found.arms for seed in arm.scores}):
        points = [(arm.scores[seed], row) for arm, row in zip(found.arms, rows, strict=True) if seed in arm.scores]
        axes.plot(*zip(*points, strict=True), color=theme.faint, lw=0.7, alpha=0.6, zorder=2)
    for arm, row in zip(found.arms, rows, strict=True):
        typical = [score for seed, score in arm.scores.items() if seed not in arm.lost.collapsed]
        collapsed = [arm.scores[seed] for seed in arm.lost.collapsed]
        axes.scatter(typical, [row] * len(typical), color=style.BLUE, s=22, zorder=3)
        axes.scatter(collapsed, [row] * len(collapsed), facecolors="none", edgecolors=style.BLUE, s=22, zorder=3)
        if typical:
            axes.plot([np.mean(typical)] * 2, [row - 0.3, row + 0.3], color=theme.ink, lw=2, zorder=4)
    axes.set_yticks(rows, [_broken(f"{arm.name} {_count(len(arm.scores))}") for arm in found.arms])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlabel(style.unit(found.metric))
    axes.set_title("Scores: a line joins the runs of one seed\nhollow: collapsed; bars: means of the others")


def _effects(found: Confirmed, axes: Axes, theme: style.Theme) -> None:
    verdicts, delta = found.judgement.verdicts, found.plan.delta
    shown = amount(f"{delta:g}", found.metric)
    rows = np.arange(len(verdicts))[::-1]
    axes.axvspan(-delta, delta, color=theme.line, alpha=0.6, lw=0, zorder=1)
    axes.axvline(0, color=theme.faint, lw=1, zorder=2)
    seen = set()
    for one, row in zip(verdicts, rows, strict=True):
        if math.isnan(one.effect):
            continue
        label = None if one.kind in seen else one.kind
        seen.add(one.kind)
        colour = COLOURS[one.kind]
        if math.isfinite(one.low) and math.isfinite(one.high):
            axes.plot([one.low, one.high], [row, row], color=colour, lw=2, zorder=3)
        else:
            axes.annotate("no interval yet", (one.effect, row), xytext=(7, -3), textcoords="offset points", fontsize=8)
        axes.scatter([one.effect], [row], color=colour, marker=MARKERS[one.kind], s=38, zorder=4, label=label)
    axes.set_yticks(rows, [_broken(f"{one.arm} − {one.other} {_count(one.pairs)}") for one in verdicts])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    better = "above 0: the first is better" if found.sign == 1 else "signs turned, so that above 0 the first is better"
    axes.set_xlabel(f"paired difference in {found.metric}; {better}")
    axes.set_title(f"Differences, simultaneous {1 - found.plan.error:.0%} intervals\nband: within {shown}")


def _count(number: int) -> str:
    """Behind a name, in one piece."""
    return f"(n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{number})"


def _broken(text: str) -> str:
    """The text, broken at spaces into lines of at most `LABEL` characters."""
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > LABEL:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
