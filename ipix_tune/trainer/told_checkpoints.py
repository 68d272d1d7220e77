"""Which checkpoints a trainer that is not ours has told of, so that those of trials that are over can be deleted."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from trainers.common.atomic import replacing

TOLD = "checkpoints.json"
"""File in a run's folder: paths and patterns of its checkpoints, relative to that folder."""


def tell(folder: Path, paths: Iterable[str]) -> None:
    """Note paths or patterns, beside those that were noted before; they lie below the run's folder."""
    known = _told(folder)
    if new := [path for path in dict.fromkeys(paths) if path not in known]:
        with replacing(folder / TOLD) as file:
            file.write_text(json.dumps([*known, *new]))


def remove(folder: Path) -> None:
    """Delete the checkpoints that were told of. Nothing outside of the folder is touched, whatever was noted."""
    inside = folder.resolve()
    for pattern in _told(folder):
        for path in [*folder.glob(pattern)]:
            if path == folder or not path.resolve().is_relative_to(inside):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _told(folder: Path) -> list[str]:
    try:
        found = json.loads((folder / TOLD).read_text())
    except (OSError, ValueError):
        return []
    return [one for one in found if isinstance(one, str) and one and ".." not in Path(one).parts and one[0] != "/"]
