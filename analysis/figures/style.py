"""One look for all figures: light and dark, colours that colour-blind readers tell apart, the same bytes every time."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

mpl.use("agg")

BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
COLOURS = {
    "complete": BLUE, "stopped": ORANGE, "failed": RED, "interrupted": PURPLE, "running": GREEN, "crashed": SKY,
}  # fmt: skip
MARKERS = {"complete": "o", "stopped": "v", "failed": "x", "interrupted": "s", "running": "D", "crashed": "X"}


@dataclass(frozen=True)
class Theme:
    """Colours of a page."""

    name: str
    ground: str
    ink: str
    faint: str
    line: str


LIGHT = Theme("light", "#ffffff", "#1b1f24", "#59636e", "#d8dde3")
DARK = Theme("dark", "#14181d", "#e8ebee", "#a3adb8", "#39424c")
THEMES = (LIGHT, DARK)


@contextmanager
def themed(theme: Theme) -> Iterator[None]:
    """matplotlib in the colours of a theme."""
    settings: Any = {
        "figure.facecolor": theme.ground,
        "axes.facecolor": theme.ground,
        "savefig.facecolor": theme.ground,
        "text.color": theme.ink,
        "axes.labelcolor": theme.ink,
        "axes.edgecolor": theme.faint,
        "xtick.color": theme.faint,
        "ytick.color": theme.faint,
        "grid.color": theme.line,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "font.size": 9.5,
        "legend.frameon": False,
        "svg.hashsalt": "ipix-tune",
        "figure.constrained_layout.use": True,
    }
    with mpl.rc_context(settings):
        yield


def new(width: float = 7.2, height: float = 3.6, **axes: Any) -> tuple[Figure, Any]:
    """A figure and its axes, without pyplot's global state. Sizes in inches."""
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(**axes)


def save(figure: Figure, folder: Path, name: str, theme: Theme) -> Path:
    """`<name>.png` and `<name>.svg`, the dark ones with `-dark`; returns the SVG's path."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = name if theme is LIGHT else f"{name}-dark"
    with themed(theme):
        figure.savefig(folder / f"{stem}.png", dpi=160, metadata={"Software": None})
        figure.savefig(folder / f"{stem}.svg", metadata={"Date": None})
    return folder / f"{stem}.svg"


def unit(metric: str) -> str:
    """`val/miou` as an axis says it."""
    return "mIoU on held-out images (%)" if metric == "val/miou" else f"{metric} (%)" if "iou" in metric else metric


def logarithmic(axes: Axes, dimension: dict[str, Any]) -> bool:
    """Make the x axis logarithmic where the dimension is; says whether it is."""
    log = str(dimension.get("kind", "")).startswith("log")
    if log:
        axes.set_xscale("log")
    return log
