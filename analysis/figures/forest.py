"""Values with their intervals, one below the other: shares, choices, steps, losses, classes."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from analysis.figures import style


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row. ``interval``: None draws the value alone, as a diamond: it is another's, without an interval."""

    label: str
    value: float
    interval: tuple[float, float] | None
    colour: str
    group: str


def draw(lines: Sequence[Line], theme: style.Theme, *, title: str, unit: str, zero: float | None = 0.0) -> Figure:
    """A dot and its interval a row, from top to bottom; ``zero`` is where nothing changes. Lines with one label share
    a row."""
    labels = list(dict.fromkeys(line.label for line in lines))
    groups = list(dict.fromkeys(line.group for line in lines))
    with style.themed(theme):
        deepest = max(sum(one.label == label for one in lines) for label in labels)
        figure, axes = style.new(7.2, (0.3 + 0.1 * deepest) * len(labels) + 1.5)
        named = set()
        for line in lines:
            same = [one for one in lines if one.label == line.label]
            y = labels.index(line.label) + 0.8 / deepest * (same.index(line) - (len(same) - 1) / 2)
            marker = "o" if line.interval is not None else "D"
            label = line.group if line.group not in named else None
            named.add(line.group)
            axes.plot(line.value, y, marker, color=line.colour, ms=6, zorder=3, label=label, ls="")
            if line.interval is not None:
                axes.plot(line.interval, [y, y], color=line.colour, lw=1.8)
        if zero is not None:
            axes.axvline(zero, color=theme.faint, lw=1, ls="--")
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(unit)
        axes.set_title(title)
        if len(groups) > 1:
            figure.legend(loc="outside lower left", ncols=2)
    return figure
