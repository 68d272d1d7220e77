"""What lies where a user's path leads; where that cannot be asked, an error that names the path."""

import errno
import stat
from pathlib import Path

from trainers.common.errors import UserError


class PathError(UserError):
    """Nobody may look where a path leads, or its name is too long."""


def is_folder(path: Path, *, what: str) -> bool:
    """Whether a folder is there. Raises PathError where that cannot be asked."""
    return stat.S_ISDIR(_mode(path, what))


def is_file(path: Path, *, what: str) -> bool:
    """Whether a file is there. Raises PathError where that cannot be asked."""
    return stat.S_ISREG(_mode(path, what))


def is_there(path: Path) -> bool:
    """Whether anything is there. Where that cannot be asked it is not, and whoever opens it says why."""
    try:
        return _mode(path, "") != 0
    except PathError:
        return False


def _mode(path: Path, what: str) -> int:
    """Kind of what is there; 0 where nothing is."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # no path has a zero byte
        return 0
    except OSError as error:
        if error.errno == errno.ELOOP:
            return 0
        raise PathError(f"{what}: {path} cannot be looked at: {error.strerror}") from None
