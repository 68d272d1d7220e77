"""Which files exist, by the names that split files give them; and what is the matter with a name that leads nowhere.

A name is looked for as it is written. Where there is none, a file of its folder counts that differs from it only in the
Unicode form (a list from macOS may have "o" and a combining mark where the disk has one letter), in invisible
characters or in blanks at the ends; it must be the only one.
"""

import os
import unicodedata
from pathlib import Path

from trainers.common.errors import did_you_mean

MOST_NAMES = 50_000
"""Most names of a folder that are compared with a wrong name."""


class Files:
    """The files of folders, each read once instead of asked for every file."""

    def __init__(self) -> None:
        self._files: dict[str, frozenset[str]] = {}
        self._folders: dict[str, frozenset[str]] = {}
        self._plain: dict[str, dict[str, list[str]]] = {}
        self._faults: dict[str, str] = {}

    def find(self, path: Path) -> Path | None:
        """The file that a path means; None where there is none."""
        folder, name = os.path.split(path)
        if name in self._names(folder):
            return path
        there = self._folder(folder)
        if there is None:
            return None
        found = self._alike(there, name)
        return Path(there, found[0]) if len(found) == 1 else None

    def _alike(self, folder: str, name: str) -> list[str]:
        """Files of a folder whose names are the same but for their Unicode form, invisible characters and margins."""
        if folder not in self._plain:
            plain: dict[str, list[str]] = {}
            for one in self._names(folder):
                plain.setdefault(_plain(one), []).append(one)
            self._plain[folder] = plain
        return self._plain[folder].get(_plain(name), [])

    def why_not(self, path: Path) -> str:
        """What may be the matter with a path that `find` does not know: '; ...', or '' where nothing comes near."""
        folder, name = os.path.split(path)
        if "\\" in name or "\\" in str(path.parent):
            return "; its parts are joined by backslashes, write /"
        there = self._folder(folder)
        if there is None:
            return self._no_folder(folder)
        if there in self._faults:
            return f"; the folder {there} cannot be read: {self._faults[there]}"
        if _is_link(path):
            return f"; it is a link to {path.readlink()}, where nothing is"
        if name in self._folders[there]:
            return "; that is a folder"
        names = self._names(there)
        if alike := sorted(self._alike(there, name)):
            return f"; {len(alike)} files there differ from that name in the Unicode form only: {', '.join(alike)}"
        if other := sorted(one for one in names if _plain(one).casefold() == _plain(name).casefold()):
            return f'; there is "{other[0]}": upper and lower case differ'
        stem = name.rpartition(".")[0]
        if other := sorted(one for one in names if one.rpartition(".")[0] == stem and stem):
            return f'; there is "{other[0]}": the ending differs'
        return did_you_mean(name, names) if len(names) <= MOST_NAMES else ""

    def _no_folder(self, folder: str) -> str:
        path = Path(folder)
        while path.parent != path and not _is_folder(path.parent):
            path = path.parent
        self._names(str(path.parent))
        folders = self._folders[str(path.parent)]
        other = sorted(one for one in folders if one.casefold() == path.name.casefold())
        nearest = f'; did you mean "{other[0]}"?' if other else did_you_mean(path.name, folders)
        return f"; {path.parent} holds no folder {path.name}{nearest}"

    def _folder(self, folder: str) -> str | None:
        """The folder that a path means."""
        if _is_folder(Path(folder)):
            self._names(folder)
            return folder
        above, name = os.path.split(folder)
        if not name or above == folder or (there := self._folder(above)) is None:
            return None
        found = [one for one in self._folders[there] if _plain(one) == _plain(name)]
        return str(Path(there, found[0])) if len(found) == 1 else None

    def _names(self, folder: str) -> frozenset[str]:
        if folder not in self._files:
            files: set[str] = set()
            folders: set[str] = set()
            try:
                for entry in os.scandir(folder):
                    (folders if _is_folder(entry) else files if _is_file(entry) else set()).add(entry.name)
            except (OSError, ValueError) as error:
                self._faults[folder] = getattr(error, "strerror", None) or str(error)
            self._files[folder], self._folders[folder] = frozenset(files), frozenset(folders)
        return self._files[folder]


def _is_folder(path: "Path | os.DirEntry[str]") -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except (OSError, ValueError):
        return False


def _is_file(entry: "os.DirEntry[str]") -> bool:
    """Whether it can be read as a file: no link to nothing, and no pipe, which would be waited for."""
    try:
        return entry.is_file()
    except OSError:
        return False


def _plain(name: str) -> str:
    """A name in one Unicode form, without invisible characters and without blanks at its ends."""
    if name.isascii():
        return name.strip()
    letters = unicodedata.normalize("NFC", name)
    return "".join(one for one in letters if unicodedata.category(one) != "Cf").strip()
