"""Paths that begin with a home folder."""

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
