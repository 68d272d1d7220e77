"""A confusion matrix as a picture."""

from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

NUMBERED = 25
"""Classes up to which each cell has its number."""
SMALLEST = 0.1
"""Percent; cells below it are left without a number."""


def draw(confusion: NDArray[np.int64], classes: tuple[str, ...], path: Path) -> None:
    """Of every true class, by row, the share of its pixels that was given to each class, in percent; a row without
    pixels is grey. The colour grows with the square root of the share, so that confusions of a few percent are seen.

    Args:
        confusion: (C, C), rows true, columns predicted.
        classes: names.
        path: a PNG file.
    """
    with rc_context({"text.parse_math": False}):  # names of classes may hold dollars
        _draw(confusion, classes, path)


def _draw(confusion: NDArray[np.int64], classes: tuple[str, ...], path: Path) -> None:
    count = len(classes)
    totals = confusion.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        shares = np.where(totals > 0, 100 * confusion / totals, np.nan)
    side = min(24.0, max(4.0, 1.6 + 0.42 * count if count <= NUMBERED else 3 + 0.16 * count))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    axes.set_facecolor("#dddddd")
    drawn = axes.imshow(shares, norm=PowerNorm(0.5, vmin=0, vmax=100), cmap="Blues")
    size = 8 if count <= NUMBERED else 5
    axes.set_xticks(range(count), labels=classes, rotation=90, fontsize=size)
    axes.set_yticks(range(count), labels=classes, fontsize=size)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title("Pixels of each true class by predicted class, in %", fontsize=9)
    if count <= NUMBERED:
        for row, column in zip(*np.nonzero(np.nan_to_num(shares) >= SMALLEST), strict=True):
            value = shares[row, column]
            text = f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color="white" if value > 45 else "black")
    figure.colorbar(drawn, ax=axes, shrink=0.8, ticks=[0, 1, 5, 20, 50, 100])
    figure.savefig(path, format="png", dpi=150)
