"""How did the score change with each parameter? Each against the last score, with the budget in colour and the state as
its marker."""

import math

import numpy as np
from matplotlib.colors import BoundaryNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures import style
from analysis.stats.study import StudyTrials

COLUMNS = 3
WIDE = 30
"""Characters of all choices together above which they are written upwards."""


def draw(study: StudyTrials, theme: style.Theme) -> Figure:
    """A panel for each of the drawn parameters; inactive trials are missing from it."""
    names = study.drawn_parameters
    columns = min(2 if theme.narrow else COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    scored = [trial for trial in study.trials if trial.curve]
    with style.themed(theme):
        figure, grid = style.new(2.9 * columns, 2.4 * rows + 0.6, nrows=rows, ncols=columns, squeeze=False, sharey=True)
        panels = list(grid.flat)
        budgets = study.lengths()
        norm = (
            BoundaryNorm([*(b - 0.5 for b in budgets), budgets[-1] + 0.5], 256)
            if 1 < len(budgets) <= 8
            else Normalize(min(budgets, default=0), max(budgets, default=1))
        )
        dots = None
        for axes, name in zip(panels, names, strict=False):
            active = [trial for trial in scored if name in trial.values]
            dimension = study.space[name]
            if dimension["choices"] is not None:
                labels = [str(choice) for choice in dimension["choices"]]
                jitter = np.random.default_rng(0).uniform(-0.14, 0.14, len(active))
                x = [labels.index(str(trial.values[name])) + j for trial, j in zip(active, jitter, strict=True)]
                axes.set_xticks(range(len(labels)), labels)
                axes.set_xlim(-0.5, len(labels) - 0.5)
                if len("".join(labels)) > WIDE:
                    axes.tick_params(axis="x", labelrotation=90, labelsize=0.7 * theme.font)
            else:
                x = [float(trial.values[name]) for trial in active]
                style.along(axes, dimension)
            for state in sorted({trial.state for trial in active}):
                shown = [(at, trial) for at, trial in zip(x, active, strict=True) if trial.state == state]
                dots = axes.scatter(
                    [at for at, _ in shown],
                    [trial.score for _, trial in shown],
                    c=[trial.epochs for _, trial in shown],
                    cmap="viridis",
                    norm=norm,
                    marker=style.MARKERS[state],
                    s=30 if len(scored) <= style.MANY else 10,
                    rasterized=len(scored) > style.MANY,
                    edgecolors=None if state == "failed" else theme.faint,
                    linewidths=1.5 if state == "failed" else 0.5,
                )
            shown_name = name.replace(".", ".\n", 1) if theme.narrow else name
            axes.set_xlabel(f"{shown_name} (n = {len(active)})")
        for axes in panels[len(names) :]:
            axes.set_visible(False)
        for axes in grid[:, 0]:
            axes.set_ylabel(style.unit(study.metric))
        if dots is not None and len(budgets) > 1:
            bar = figure.colorbar(dots, ax=grid, shrink=0.85, pad=0.02)
            if len(budgets) <= 8:
                bar.set_ticks(budgets, labels=[str(budget) for budget in budgets])
            bar.set_label("epochs run")
        states = [state for state in style.MARKERS if any(trial.state == state for trial in scored)]
        figure.legend(
            handles=[Line2D([], [], color=theme.faint, ls="", marker=style.MARKERS[one], label=one) for one in states],
            loc="outside lower left",
            ncols=min(len(states), 3) or 1,
        )
        figure.suptitle(
            f"Last score against every parameter (n = {len(scored)} trials, {study.lengths_each()})", x=0.01, ha="left",
            fontsize=1.15 * theme.font,
        )  # fmt: skip
    return figure
