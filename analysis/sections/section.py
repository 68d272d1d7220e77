"""What every section of the report consists of."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from analysis.figures import style


@dataclass(frozen=True, kw_only=True)
class Section:
    """One question, one sentence of reading, one figure (light and dark SVG), or none; perhaps a table, whose first row
    is its head."""

    title: str
    reading: str
    figures: tuple[Path, ...]
    alt: str
    table: tuple[tuple[str, ...], ...] = ()


def drawn(plots: Path, name: str, draw: Callable[[style.Theme], Figure]) -> tuple[Path, ...]:
    """The figure's files, one for each theme."""
    return tuple(style.save(draw(theme), plots, name, theme) for theme in style.THEMES)
