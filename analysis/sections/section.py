"""What every section of the report consists of."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure

from analysis.figures import style


@dataclass(frozen=True, kw_only=True)
class Section:
    """One question, one sentence of reading, one figure (light and dark SVG), or none."""

    title: str
    reading: str
    figures: tuple[Path, ...]
    """What `drawn` returned."""
    alt: str
    """What the figure shows, for those who do not see it."""
    n: str = ""
    """What stands behind the reading, such as "24 trials, 1 seed each; 9 epochs"."""
    notes: tuple[str, ...] = ()
    """What else has to be said, a paragraph each, in smaller type."""
    table: tuple[tuple[str, ...], ...] = ()
    """Rows of text, the first the head; the page lets readers sort them."""
    interactive: Literal["", "parallel"] = ""
    """Which of the page's own drawings stands in the figure's place where scripts run."""


def drawn(plots: Path, name: str, draw: Callable[[style.Theme], Figure]) -> tuple[Path, ...]:
    """Draw a figure for the page and for phones, within :func:`for_print` also for print; returns the page's files, a
    theme each."""
    style.save(draw(style.ONE_COLUMN), plots, name, style.ONE_COLUMN, pdf=_print.get())
    if _print.get():
        style.save(draw(style.TWO_COLUMNS), plots, name, style.TWO_COLUMNS)
    light = style.save(draw(style.LIGHT), plots, name, style.LIGHT)
    return light, style.save_dark(light)


@contextmanager
def for_print() -> Iterator[None]:
    """Figures are also drawn for print: PDF with embedded fonts, one and two columns wide."""
    token = _print.set(True)
    try:
        yield
    finally:
        _print.reset(token)


_print: ContextVar[bool] = ContextVar("print", default=False)
