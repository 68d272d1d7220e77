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
    """Draw a figure for the page, and for print unless :func:`for_the_page_only`; returns the page's files, a theme
    each."""
    for theme in style.PRINT if _print.get() else (style.ONE_COLUMN,):
        style.save(draw(theme), plots, name, theme, pdf=_print.get())
    return tuple(style.save(draw(theme), plots, name, theme) for theme in style.THEMES)


@contextmanager
def for_the_page_only() -> Iterator[None]:
    """Nothing is drawn for print but what phones show: a page that is made again every few seconds needs no more."""
    token = _print.set(False)
    try:
        yield
    finally:
        _print.reset(token)


_print: ContextVar[bool] = ContextVar("print", default=True)
