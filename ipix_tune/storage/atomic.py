"""Files that are written whole or not at all."""

import os
from pathlib import Path

from trainers.common.atomic import replacing
from trainers.common.errors import UserError


class FolderError(UserError):
    """The study's folder cannot be used as asked."""


def replace_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, also where the machine loses its power."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
