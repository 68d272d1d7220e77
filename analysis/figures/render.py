"""Which figures are drawn, and by whom: those of which something has changed since the last report, by all cores.

`plots/.drawn.json` has, for every figure and theme, the digest of what it was drawn from and those of its files. Where
both are as they were, the figure is left alone: drawing it would give the same bytes.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from analysis.compute.atomic import replacing
from analysis.compute.cache import digest, digest_of_file
from analysis.compute.process_pool import Here
from analysis.figures import style

DRAWN = ".drawn.json"
Draw = Callable[[style.Theme], Figure]


def drawn(plots: Path, name: str, draw: Draw) -> Path:
    """Have a figure drawn for the page and for phones, and for print where that was asked for; within :func:`drawing`
    it is there when that ends, else at once. Returns the page's file.

    Args:
        plots: where to.
        name: the files' stem.
        draw: a function of the theme; a `partial` of one of this package, with all that is drawn as its arguments.
    """
    session = _session.get()
    if session is None:
        with drawing(Here()) as once:
            once.want(plots, name, draw)
    else:
        session.want(plots, name, draw)
    return plots / f"{name}.svg"


@dataclass
class Session:
    """The figures of one report. ``printed``: also for print."""

    pool: Executor
    printed: bool = False
    before: dict[Path, dict[str, Any]] = field(default_factory=dict)
    after: dict[Path, dict[str, Any]] = field(default_factory=dict)
    begun: list[tuple[Path, str, str, Future[dict[str, str]]]] = field(default_factory=list)

    def want(self, plots: Path, name: str, draw: Draw) -> None:
        """Have a figure drawn in every theme in which it is not there yet."""
        if plots not in self.before:
            self.before[plots], self.after[plots] = _drawn_in(plots), {}
        content = digest(draw)
        for theme in (style.LIGHT, style.ONE_COLUMN, *((style.TWO_COLUMNS,) if self.printed else ())):
            stem, key = f"{name}-{theme.name}", digest(content, theme)
            known = self.before[plots].get(stem, {})
            files = known.get("files", {})
            wanted = {path.relative_to(plots).as_posix() for path in style.files_of(plots, name, theme, self.printed)}
            if known.get("key") == key and wanted <= files.keys() and _unchanged(plots, files):
                self.after[plots][stem] = known
            else:
                found = self.pool.submit(_draw, draw, plots, name, theme, self.printed)
                self.begun.append((plots, stem, key, found))

    def end(self) -> None:
        """Wait for all figures, and note what was drawn."""
        for plots, stem, key, found in self.begun:
            self.after[plots][stem] = {"key": key, "files": found.result()}
        for plots, entries in self.after.items():
            with replacing(plots / DRAWN) as temporary:
                temporary.write_text(json.dumps(entries, indent=1, sort_keys=True), encoding="utf-8")


@contextmanager
def drawing(pool: Executor, *, printed: bool = False) -> Iterator[Session]:
    """Figures that are asked for within are drawn by ``pool``, and are there at the end; with ``printed`` also for
    print: PDF with embedded fonts, one and two columns wide."""
    session = Session(pool, printed)
    token = _session.set(session)
    try:
        yield session
    finally:
        _session.reset(token)
    session.end()


def _draw(draw: Draw, plots: Path, name: str, theme: style.Theme, printed: bool) -> dict[str, str]:
    """The files that were written, by their place in ``plots``, with their digests."""
    paths = style.save(draw(theme), plots, name, theme, printed=printed)
    return {path.relative_to(plots).as_posix(): digest_of_file(path) or "" for path in paths}


def _drawn_in(plots: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((plots / DRAWN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _unchanged(plots: Path, files: dict[str, str]) -> bool:
    return all(digest_of_file(plots / name) == known for name, known in files.items())


_session: ContextVar[Session | None] = ContextVar("session", default=None)
