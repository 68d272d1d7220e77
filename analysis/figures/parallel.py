"""Which combinations did well? Parallel coordinates of all trials, the score in colour."""

import math
from typing import Any

from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analysis.figures import style
from analysis.stats.study import StudyTrials


def draw(study: StudyTrials, theme: style.Theme) -> Figure:
    """One line a trial; an inactive parameter breaks it. Thin lines did not run all their epochs."""
    names = list(study.drawn_parameters)
    scored = sorted((trial for trial in study.trials if trial.curve), key=lambda trial: study.sign * (trial.score or 0))
    with style.themed(theme):
        figure, axes = style.new(max(7.2, 1.5 * len(names) + 1.5), 3.9)
        axes.grid(visible=False)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        scores = [trial.score or 0.0 for trial in scored]
        norm = Normalize(min(scores, default=0), max(scores, default=1))
        many = len(scored) > style.MANY
        for done in (False, True):
            group = [trial for trial in scored if (trial.state == "complete") == done]
            heights = [[place(study.space[name], trial.values.get(name)) for name in names] for trial in group]
            lines = [[(at, math.nan if height is None else height) for at, height in enumerate(row)] for row in heights]
            axes.add_collection(
                LineCollection(
                    lines,
                    colors=colormaps["viridis"](norm([trial.score or 0.0 for trial in group])),
                    lw=(1.2 if many else 2.2) if done else 0.9,
                    alpha=0.4 if many else 0.95 if done else 0.6,
                    rasterized=many,
                )
            )
            dots = [(at, height, trial.score) for trial, row in zip(group, heights, strict=True)
                    for at, height in enumerate(row) if height is not None]  # fmt: skip
            if dots and not many:
                x, y, c = zip(*dots, strict=True)
                axes.scatter(x, y, 9, c=c, cmap="viridis", norm=norm, rasterized=many, zorder=3)
        for position, name in enumerate(names):
            axes.axvline(position, color=theme.line, lw=1, zorder=0)
            for height, label in ticks(study.space[name]):
                axes.text(
                    position + 0.03, height, label, fontsize=0.8 * theme.font, color=theme.ink, va="center", zorder=4,
                    bbox={"facecolor": theme.ground, "edgecolor": "none", "alpha": 0.75, "pad": 0.8},
                )  # fmt: skip
        axes.set_xticks(
            range(len(names)),
            [name.replace(".", ".\n", 1) for name in names],
            rotation=90 if theme.narrow else 0,
            fontsize=theme.font if len(names) < 7 else 0.84 * theme.font,
        )
        axes.set_ylim(-0.05, 1.05)
        axes.set_xlim(-0.2, len(names) - 0.6)
        axes.set_yticks([])
        bar = figure.colorbar(ScalarMappable(norm, "viridis"), ax=axes, pad=0.02)
        bar.set_label(f"last {style.unit(study.metric)}")
        axes.set_title(
            f"Configurations and scores (n = {len(scored)} trials; thick: ran all {study.max_epochs} epochs)"
        )
    return figure


def place(dimension: dict[str, Any], value: Any) -> float | None:
    """Height 0 .. 1 of a value on its axis, None where it is inactive."""
    if value is None:
        return None
    if dimension["choices"] is not None:
        choices = [str(choice) for choice in dimension["choices"]]
        return choices.index(str(value)) / max(len(choices) - 1, 1)
    low, high, at = dimension["low"], dimension["high"], float(value)
    if dimension["kind"].startswith("log"):
        low, high, at = math.log(low), math.log(high), math.log(at)
    return float((at - low) / (high - low))


def ticks(dimension: dict[str, Any]) -> list[tuple[float, str]]:
    """Heights and labels along an axis: all choices, or both ends and the middle."""
    if dimension["choices"] is not None:
        return [(place(dimension, choice) or 0.0, str(choice)) for choice in dimension["choices"]]
    low, high = dimension["low"], dimension["high"]
    middle = math.sqrt(low * high) if dimension["kind"].startswith("log") else (low + high) / 2
    return [(place(dimension, value) or 0.0, f"{value:.3g}") for value in (low, middle, high)]
