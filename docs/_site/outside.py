"""Pages link to files outside docs/: measurements, shipped studies, deploy/. The site takes these files along, below
repository/, so that every link works in it without a network."""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

LINK = re.compile(r"\]\((?P<target>[^)#\s]+)(?P<place>#[^)]*)?\)")
FENCE = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
TAKEN = "repository"


def targets(text: str) -> list[str]:
    """Link targets of a page that name files: no addresses, no code blocks."""
    return [one["target"] for one in LINK.finditer(FENCE.sub("", text)) if "://" not in one["target"]]


def in_repository(page: PurePosixPath, target: str) -> PurePosixPath:
    """The file, from the root of the repository, that a link of a page there names."""
    return PurePosixPath(os.path.normpath(page.parent / target))


def files_outside(pages: Iterable[PurePosixPath], root: Path) -> list[PurePosixPath]:
    """All files outside docs/ that pages name, and those that these name in turn. Folders are not taken."""
    found: dict[PurePosixPath, None] = {}
    waiting = list(pages)
    while waiting:
        page = waiting.pop()
        for target in targets((root / page).read_text(encoding="utf-8")):
            file = in_repository(page, target)
            if file.parts[0] == "docs" or file in found or not (root / file).is_file():
                continue
            found[file] = None
            if file.suffix == ".md":
                waiting.append(file)
    return list(found)


def place(file: PurePosixPath) -> PurePosixPath:
    """Where a file of the repository lies in the site, from the site's root."""
    return file.relative_to("docs") if file.parts[0] == "docs" else TAKEN / file


def relinked(text: str, page: PurePosixPath, is_there: Callable[[PurePosixPath], bool]) -> str:
    """A page's text with links as the site needs them. A link to what the site does not have (a folder) is left as
    text.

    Args:
        text: the page's Markdown.
        page: the page's file, from the root of the repository.
        is_there: whether the site has a file of the repository.
    """

    def link(found: re.Match[str]) -> str:
        if "://" in found["target"]:
            return found[0]
        file = in_repository(page, found["target"])
        if not is_there(file):
            return "]" if file.parts[0] != "docs" else found[0]
        return f"]({os.path.relpath(place(file), place(page).parent)}{found['place'] or ''})"

    kept: list[str] = []
    text = FENCE.sub(lambda one: kept.append(one[0]) or f"\x00{len(kept) - 1}\x00", text)
    text = LINK.sub(link, text)
    return re.sub("\x00(\\d+)\x00", lambda one: kept[int(one[1])], text)
