"""What does every parameter do at full budget? Curves with intervals, the trials, and what a paper reports."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import style
from analysis.stats.sensitivity.effects import Marginal
from analysis.stats.sensitivity.external_evidence import ExternalPair
from analysis.stats.sensitivity.surrogate import Surrogate

COLUMNS = 3


def draw(surrogate: Surrogate, found: Sequence[Marginal], beside: Sequence[ExternalPair], theme: style.Theme) -> Figure:
    """A panel a parameter, all as differences from the mean over the space. Filled dots ran to the end; hollow ones
    were stopped and stand at their expected end. Collapsed runs have none."""
    study = surrogate.study
    expected = np.median(surrogate.ends, axis=0)
    full = np.array([study.max_epochs in trial.curve for trial in surrogate.trials])
    ends = [trial.curve.get(study.max_epochs, end) for trial, end in zip(surrogate.trials, expected, strict=True)]
    differences = np.array(ends) - np.median(surrogate.level)
    drawn = np.array([at not in surrogate.collapsed for at in range(len(surrogate.trials))])
    columns = min(COLUMNS, len(found))
    rows = math.ceil(len(found) / columns)
    with style.themed(theme):
        figure, grid = style.new(2.9 * columns, 2.4 * rows + 0.9, nrows=rows, ncols=columns, squeeze=False, sharey=True)
        panels = list(grid.flat)
        for axes, one in zip(panels, found, strict=False):
            axis = surrogate.basis.axes[surrogate.basis.names.index(one.name)]
            has = np.array([one.name in trial.values for trial in surrogate.trials])
            values = [trial.values[one.name] for trial in surrogate.trials if one.name in trial.values]
            if axis.choices is not None:
                at = np.array([axis.unit(value) for value in values])
                at = at + np.random.default_rng(0).uniform(-0.16, 0.16, len(at))
                spans = [one.middle - one.low, one.high - one.middle]
                axes.errorbar(one.places, one.middle, spans, fmt="s", color=style.BLUE, ms=5, lw=1.8, zorder=4)
                axes.set_xticks(one.places, [str(value) for value in one.values])
                axes.set_xlim(-0.5, len(one.places) - 0.5)
            else:
                at = np.array(values, dtype=float)
                axes.plot(one.values, one.middle, color=style.BLUE, lw=2, zorder=4)
                axes.fill_between(one.values, one.low, one.high, color=style.BLUE, alpha=0.22, lw=0)
                style.along(axes, axis.dimension)
            for kind, face in ((full[has] & drawn[has], theme.faint), (~full[has] & drawn[has], "none")):
                own = differences[has][kind]
                axes.scatter(at[kind], own, s=12, facecolors=face, edgecolors=theme.faint, linewidths=0.7)
            for pair in (pair for pair in beside if pair.name == one.name):
                _published(axes, surrogate, one, pair)
            axes.set_xlabel(f"{one.name} (n = {len(values)})")
        for axes in panels[len(found) :]:
            axes.set_visible(False)
        for axes in grid[:, 0]:
            axes.set_ylabel(f"{style.unit(study.metric)}, from the mean")
        figure.suptitle(
            f"Mean score at epoch {study.max_epochs} over all else, from the mean over the space, with 95 % intervals\n"
            f"(n = {len(full)} trials, {int(full.sum())} at the end{'; diamonds: published' if beside else ''})",
            x=0.01, ha="left", fontsize=11,
        )  # fmt: skip
    return figure


def _published(axes: Axes, surrogate: Surrogate, found: Marginal, pair: ExternalPair) -> None:
    """A published difference, laid on our curve at its second value: its level is another's and means nothing here."""
    axis = surrogate.basis.axes[surrogate.basis.names.index(found.name)]
    try:
        places = [axis.unit(value) for value in (pair.second, pair.first)]
    except ValueError:
        return
    base = float(np.interp(places[0], found.places, found.middle))
    at = places if axis.choices is not None else [axis.value(place) for place in places]
    axes.plot(at, [base, base + pair.difference], color=style.RED, lw=0.8, ls=":", zorder=5)
    axes.plot(at[1], base + pair.difference, "D", color=style.RED, ms=5, zorder=5)
