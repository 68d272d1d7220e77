"""The user's home folder, and paths that begin with one."""

import os
from pathlib import Path

from trainers.common.errors import ConfigError


def expanded(path: str | Path) -> Path:
    """The path with `~` and `~user` as a shell reads them.

    Raises:
        ConfigError: there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigError(f"{path}: there is no home folder {Path(path).parts[0]}; write the whole path") from None


def home() -> Path:
    """The user's home folder.

    Raises:
        ConfigError: the shell names none, and the system knows none of this user, as in a container with a user of its
            own.
    """
    try:
        return Path.home()
    except RuntimeError:
        raise ConfigError(
            f"HOME is not set, and this machine knows no home folder of its user {os.getuid()}: set HOME to a folder "
            "that can be written"
        ) from None
