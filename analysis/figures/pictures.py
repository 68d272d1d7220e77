"""Held-out images in rows: the image, its truth, what two configurations predicted, and where they differ."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from analysis.figures import style

IGNORE = 255
_RIGHT, _FIRST, _SECOND, _WRONG = "#eef1f4", style.GREEN, style.RED, "#9aa3ad"
NAMED = 12
"""Classes in the legend."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One image. Arrays as in `analysis.ingest.held_out.Picture`; ``label`` stands at its left."""

    label: str
    image: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    second: NDArray[np.uint8]
    first: NDArray[np.uint8]


def draw(rows: Sequence[Row], theme: style.Theme, *, first: str, second: str, classes: Sequence[str]) -> Figure:
    """A line of five pictures for every row."""
    with style.themed(theme):
        height = sum(min(1.5, max(0.7, row.image.shape[0] / row.image.shape[1])) for row in rows)
        figure, axes = style.new(7.2, 1.35 * height + 0.9, nrows=len(rows), ncols=5, squeeze=False)
        for line, row in zip(axes, rows, strict=True):
            cells = (row.image, _coloured(row.truth), _coloured(row.second), _coloured(row.first), _differences(row))
            for place, pixels in zip(line, cells, strict=True):
                place.imshow(pixels, interpolation="nearest", aspect="equal")
                place.set_xticks([])
                place.set_yticks([])
                place.grid(visible=False)
                for spine in place.spines.values():
                    spine.set_visible(False)
            line[0].set_ylabel(row.label, fontsize=0.84 * theme.font)
        for place, title in zip(axes[0], ("image", "truth", second, first, "difference"), strict=True):
            place.set_title(title, loc="center", fontsize=theme.font)
        seen = sorted({int(one) for row in rows for one in np.unique(row.truth)} - {IGNORE})[:NAMED]
        patches = [Patch(color=_colour(index), label=classes[index]) for index in seen if index < len(classes)]
        figure.legend(handles=patches, loc="outside lower left", ncols=4 if theme.narrow else 6)
    return figure


def _colour(index: int) -> tuple[float, float, float]:
    """Colour of a class: dark for class 0, then twelve that can be told apart, then the same twelve darker."""
    if index == 0:
        return to_rgb("#2b3440")
    wheel = (
        *("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#0072B2", "#B7E07F", "#B39DDB"),
        *("#8D6E63", "#4DD0C4", "#F48FB1"),
    )
    red, green, blue = to_rgb(wheel[(index - 1) % len(wheel)])
    shade = 0.75 ** ((index - 1) // len(wheel))
    return red * shade, green * shade, blue * shade


def _coloured(classes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Class indices (H, W) in colours (H, W, 3)."""
    table = np.array([_colour(index) for index in range(256)])
    table[IGNORE] = to_rgb("#ffffff")
    return table[classes]


def _differences(row: Row) -> NDArray[np.float64]:
    """Who is right where, (H, W, 3)."""
    ours, theirs, counts = row.first == row.truth, row.second == row.truth, row.truth != IGNORE
    found = np.broadcast_to(np.array(to_rgb(_RIGHT)), (*row.truth.shape, 3)).copy()
    for where, colour in (
        (ours & ~theirs, _FIRST),
        (theirs & ~ours, _SECOND),
        (~ours & ~theirs, _WRONG),
    ):
        found[where & counts] = to_rgb(colour)
    return found
