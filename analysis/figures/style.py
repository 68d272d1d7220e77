"""One look for all figures: light and dark for the page, one and two columns for print, colours that colour-blind
readers tell apart, the same bytes every time."""

import math
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.ticks import log_ticks
from analysis.units import axis

mpl.use("agg")

BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
GREY = "#767676"
COLOURS = {
    "complete": BLUE, "stopped": ORANGE, "failed": RED, "interrupted": PURPLE, "running": GREEN, "crashed": SKY,
    "infeasible": GREY,
}  # fmt: skip
MARKERS = {
    "complete": "o", "stopped": "v", "failed": "x", "interrupted": "s", "running": "D", "crashed": "X",
    "infeasible": "P",
}  # fmt: skip


MANY = 200
"""Above so many trials, their marks are stored as pixels and their labels as shapes: a vector file of 1,000 learning
curves would have megabytes. All of them are drawn."""


@dataclass(frozen=True)
class Theme:
    """Colours, and for print the width in inches; ``font`` is the size of text in points."""

    name: str
    ground: str
    ink: str
    faint: str
    line: str
    width: float | None = None
    font: float = 9.5

    @property
    def narrow(self) -> bool:
        """Whether a legend beside the axes, or a third panel, has no room."""
        return self.width is not None and self.width < 5


LIGHT = Theme("light", "#ffffff", "#1b1f24", "#59636e", "#d8dde3")
DARK = Theme("dark", "#14181d", "#e8ebee", "#a3adb8", "#39424c")
PIXELS, PRINT_DPI = 900, 200
"""What is stored as pixels: the width of an SVG figure of the page, where 1,000 trials have to stay a small file, and
dots per inch in print."""
ONE_COLUMN = replace(LIGHT, name="1col", width=3.35, font=7)
TWO_COLUMNS = replace(LIGHT, name="2col", width=6.9, font=8)
"""The column and the page of a paper in two columns (3.35 and 6.9 inches)."""


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
        "axes.titlesize": theme.font * 1.15,
        "axes.titlelocation": "left",
        "font.size": theme.font,
        "text.parse_math": False,  # names of users may hold dollars
        "pdf.fonttype": 42,
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


def files_of(folder: Path, name: str, theme: Theme, printed: bool) -> tuple[Path, ...]:
    """Where :func:`save` writes to: for the page `<name>.svg` and `.png`; for phones and for print
    `print/<name>-1col` and `-2col`, as `.svg` with glyphs as outlines and, for print, `.pdf` with embedded fonts."""
    if theme.width is None:
        light = folder / f"{name}.svg"
        return light, light.with_suffix(".png")
    svg = folder / "print" / f"{name}-{theme.name}.svg"
    return (svg, svg.with_suffix(".pdf")) if printed else (svg,)


def save(figure: Figure, folder: Path, name: str, theme: Theme, *, printed: bool = True) -> tuple[Path, ...]:
    """Write all of :func:`files_of`; returns them."""
    files = files_of(folder, name, theme, printed)
    svg = files[0]
    svg.parent.mkdir(parents=True, exist_ok=True)
    with themed(theme):
        if theme.width is not None:
            _fit(figure, theme)
        with mpl.rc_context({"figure.constrained_layout.use": False}):
            _settle(figure)
            for path in files:
                if path.suffix == ".png":
                    figure.savefig(path, dpi=160, metadata={"Software": None})
                elif path.suffix == ".pdf":
                    figure.savefig(path, dpi=PRINT_DPI, metadata={"CreationDate": None})
            dpi = PIXELS / (1.5 * figure.get_figwidth()) if theme.narrow else PIXELS / figure.get_figwidth()
            figure.savefig(svg, dpi=min(dpi, PRINT_DPI), metadata={"Date": None})
    return files


def one_column(figure: Path) -> Path:
    """Where the print file for one column is of a figure of the page."""
    return figure.parent / "print" / f"{figure.stem}-{ONE_COLUMN.name}.svg"


def _fit(figure: Figure, theme: Theme) -> None:
    """To the width of the theme; text keeps its size, so that the height shrinks less, and titles are wrapped."""
    width, height = figure.get_size_inches()
    assert theme.width is not None
    figure.set_size_inches(theme.width, height * math.sqrt(min(1.0, theme.width / width)))
    characters = int(0.8 * theme.width * 72 / (0.55 * theme.font))
    for axes in figure.axes:
        axes.set_title(textwrap.fill(axes.get_title(loc="left"), characters))
        if len(axes.get_xlabel()) > characters:
            axes.set_xlabel(textwrap.fill(axes.get_xlabel(), characters))
    if figure.get_suptitle():
        figure.suptitle(textwrap.fill(figure.get_suptitle(), characters), x=0.01, ha="left", fontsize=1.15 * theme.font)


def _settle(figure: Figure) -> None:
    """Compute the layout once for all files that are written of it. matplotlib draws a figure that has any engine, be
    it one that does nothing, twice for each file."""
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.execute(figure)
    figure.set_layout_engine(None)


def legend(figure: Figure, axes: Axes, theme: Theme) -> None:
    """Beside the axes, or below them where there is no room."""
    if theme.narrow:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=3, columnspacing=1)
    else:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def unit(metric: str) -> str:
    """A metric with its unit, as an axis says it."""
    return axis(metric)


def along(axes: Axes, dimension: dict[str, Any]) -> None:
    """The x axis for a numeric dimension: all of its range, logarithmic where the dimension is."""
    low, high = dimension["low"], dimension["high"]
    if str(dimension["kind"]).startswith("log"):
        margin = (high / low) ** 0.04
        axes.set_xscale("log")
        axes.set_xlim(low / margin, high * margin)
        log_ticks(axes.xaxis, low, high)
    else:
        margin = 0.04 * (high - low)
        axes.set_xlim(low - margin, high + margin)
