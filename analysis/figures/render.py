"""Which figures are drawn, and by whom: those of which something has changed since the last report, by all cores.

`plots/.drawn.json` has, for every figure and theme, the digest of what it was drawn from and those of its files. Where
both are as they were, the figure is left alone: drawing it would give the same bytes.
"""

import json
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from matplotlib.figure import Figure

from analysis.compute.atomic import replacing
from analysis.compute.cache import digest, digest_of_file
from analysis.compute.process_pool import Here
from analysis.figures import style

DRAWN = ".drawn.json"
Draw = Callable[[style.Theme], Figure]


@dataclass
class Figures:
    """The figures of one report. Leave it as a context: all of them are there then.

    Args:
        folder: where to.
        pool: what draws them.
        printed: also for print: PDF with embedded fonts, one and two columns wide.
    """

    folder: Path
    pool: Executor = field(default_factory=Here)
    printed: bool = False
    _before: dict[str, Any] = field(init=False)
    _after: dict[str, Any] = field(default_factory=dict, init=False)
    _begun: list[tuple[str, str, Future[dict[str, str]]]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._before = _drawn_in(self.folder)

    def drawn(self, name: str, draw: Draw) -> Path:
        """Have a figure drawn for the page and for phones, and for print where that was asked for, in every theme in
        which it is not there yet. Returns the page's file.

        Args:
            name: the files' stem.
            draw: a function of the theme; a `partial` of one of this package, with all that is drawn as its arguments.
        """
        content = digest(draw)
        for theme in (style.LIGHT, style.ONE_COLUMN, *((style.TWO_COLUMNS,) if self.printed else ())):
            stem, key = f"{name}-{theme.name}", digest(content, theme)
            known = self._before.get(stem, {})
            files = known.get("files", {})
            paths = style.files_of(self.folder, name, theme, self.printed)
            wanted = {path.relative_to(self.folder).as_posix() for path in paths}
            if known.get("key") == key and wanted <= files.keys() and _unchanged(self.folder, files):
                self._after[stem] = known
            else:
                found = self.pool.submit(_draw, draw, self.folder, name, theme, self.printed)
                self._begun.append((stem, key, found))
        return self.folder / f"{name}.svg"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        """Wait for all figures, and note what was drawn; after an error do neither."""
        if kind is not None:
            return
        for stem, key, found in self._begun:
            self._after[stem] = {"key": key, "files": found.result()}
        if self._after:
            with replacing(self.folder / DRAWN) as temporary:
                temporary.write_text(json.dumps(self._after, indent=1, sort_keys=True), encoding="utf-8")


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
