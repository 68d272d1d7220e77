"""What lies in a folder of predictions already: by which model and options, and which images are whole."""

import hashlib
import json
from pathlib import Path
from typing import Any

from trainers.common.atomic import replacing
from trainers.common.errors import ConfigError, OutputError
from trainers.loop.run_identity import differences

HEAD, LINES = "predictions.json", "predictions.jsonl"


class Record:
    """Of one folder.

    Args:
        folder: of the predictions; made where it is not there.
        how: what decides the predictions: model and options, as JSON has it.
        told: what else is written down of it.
        redo: predictions that were made otherwise are made again, instead of refused.

    Raises:
        ConfigError: the folder holds other files, or predictions that were made otherwise.
    """

    def __init__(self, folder: Path, how: dict[str, Any], *, told: dict[str, Any], redo: bool = False) -> None:
        self._folder, self._how = folder, how
        self._key = hashlib.sha256(json.dumps(how, sort_keys=True).encode()).hexdigest()[:16]
        head = folder / HEAD
        if head.is_file():
            self._check(head, redo=redo)
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(
                f"--out {folder}: files lie there that predict did not write, and it overwrites none; give an empty or "
                "a new folder"
            )
        self._done = self._read()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _replace(head, json.dumps({"how": how, **told}, indent=2) + "\n")
            _replace(folder / LINES, "".join(json.dumps(line) + "\n" for line in self._done.values()))
        except OSError as error:
            raise OutputError(f"--out {folder}: cannot be written: {error.strerror or error}") from error

    def _check(self, head: Path, *, redo: bool) -> None:
        try:
            before = json.loads(head.read_text())["how"]
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(f"{head}: cannot be read ({error}); give another --out") from None
        if (changed := differences(before, self._how)) and not redo:
            raise ConfigError(
                f"--out {self._folder} holds predictions that were made otherwise: {'; '.join(changed[:4])}. Give "
                "another folder, or --redo to make them again"
            )

    def _read(self) -> dict[str, dict[str, Any]]:
        """The newest line of each name. One that was cut off, as by a kill, is none."""
        found: dict[str, dict[str, Any]] = {}
        path = self._folder / LINES
        for text in path.read_text().splitlines() if path.is_file() else ():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            found[line["name"]] = line
        return found

    def has(self, name: str, source: Path, files: list[str]) -> bool:
        """Whether all of an image's files are there, made this way of the image as it is now."""
        line = self._done.get(name)
        if line is None or line["how"] != self._key or line["source"] != _state(source) or line["source"] is None:
            return False
        return set(files) <= set(line["files"]) and all((self._folder / one).is_file() for one in files)

    def add(self, name: str, source: Path, files: list[str], size: tuple[int, int]) -> None:
        """An image's files are written: (height, width) is their size."""
        line = {"name": name, "source": _state(source), "files": files, "size": list(size), "how": self._key}
        try:
            with (self._folder / LINES).open("a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise OutputError(f"{self._folder / LINES}: cannot be written: {error.strerror or error}") from error


def _state(source: Path) -> str | None:
    """What tells a file from what it was before; None where it cannot be had."""
    try:
        status = source.stat()
    except OSError:
        return None
    return f"{source.name}|{status.st_size}|{status.st_mtime_ns}"


def _replace(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text)
