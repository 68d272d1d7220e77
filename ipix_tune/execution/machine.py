"""What this machine must allow before a Ray is started on it: a temporary folder for its sockets, a place for its
token."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from trainers.common.errors import UserError
from trainers.common.home import home as system_home
from trainers.common.paths import is_there
from trainers.common.sockets import check_length

OF_RAY = "/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"
"""What Ray adds to the temporary folder for the longest of its sockets."""
TOKEN = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
"""Variables with which Ray makes no token of its own."""


class MachineError(UserError):
    """Ray cannot be started on this machine as it is set up."""


def asked_address(address: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The cluster's address, as given or by RAY_ADDRESS; None: a Ray is started on this machine, as Ray's own word
    `local` says too."""
    asked = address or environment.get("RAY_ADDRESS") or "local"
    return None if asked == "local" else asked


def check_machine(address: str | None, environment: Mapping[str, str] = os.environ) -> list[str]:
    """See that a Ray can be started here, where none runs already, and that there is a folder for caches.

    Args:
        address: the cluster's address, if one was given.
        environment: the shell's.

    Returns:
        warnings.

    Raises:
        UserError: the temporary folder is too long a path, or it or the home folder cannot be written, with the cure.
    """
    if asked_address(address, environment) is None:
        _check_for_ray(environment)
    home = _home(environment)
    if environment.get("XDG_CACHE_HOME") or (why := _unwritable(home / ".cache")) is None:
        return []
    return [
        f"warning: {why}: data sets, decoded images and W&B's own logs are kept there; set HOME or XDG_CACHE_HOME to a "
        "folder that can be written"
    ]


def _check_for_ray(environment: Mapping[str, str]) -> None:
    name = "RAY_TMPDIR" if "RAY_TMPDIR" in environment else "TMPDIR"
    folder = Path(environment.get(name, "/tmp"))
    check_length(folder, added=OF_RAY, name=name, whose="Ray")
    if (why := _unwritable(folder)) is not None:
        raise MachineError(
            f"{name} = {folder}: {why}, and Ray keeps its sockets and logs there; set {name} to a folder of this "
            f"machine that can be written, such as {name}=/tmp"
        )
    home = _home(environment)
    if any(environment.get(one) for one in TOKEN) or (home / ".ray/auth_token").is_file():
        return
    if (why := _unwritable(home)) is not None:
        raise MachineError(
            f"HOME = {home}: {why}, and Ray keeps the token of its cluster there (~/.ray/auth_token); set HOME to a "
            "folder that can be written, or RAY_AUTH_MODE=disabled where nobody else reaches this machine's ports"
        )


def _home(environment: Mapping[str, str]) -> Path:
    return Path(given) if (given := environment.get("HOME")) else system_home()


def _unwritable(folder: Path) -> str | None:
    """Why a folder, or the first one above it that is there, cannot be written."""
    while not is_there(folder) and folder != folder.parent:
        folder = folder.parent
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return f"{folder} cannot be written ({error.strerror or error})"
    return None
