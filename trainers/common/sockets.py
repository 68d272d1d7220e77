"""Sockets that a program makes in the temporary folder: the system takes no longer path than 107 bytes for one."""

import os
import tempfile
from pathlib import Path

from trainers.common.errors import UserError

LONGEST = 107
"""Bytes of a socket's path at most (`sun_path` of Linux, without its end)."""
OF_LOADERS = "/pymp-12345678/listener-12345678"
"""What Python's multiprocessing adds to the temporary folder for the loader workers' socket."""


class TemporaryFolderError(UserError):
    """The temporary folder cannot be used."""


def check_length(folder: Path | str, *, added: str, name: str, whose: str) -> None:
    """See that a socket fits below a folder.

    Args:
        folder: the temporary folder.
        added: the rest of the socket's path, as long as it will be.
        name: the variable that names the folder.
        whose: of which the socket is, for the message.

    Raises:
        TemporaryFolderError: its path is too long.
    """
    room, taken = LONGEST - len(os.fsencode(added)), len(os.fsencode(str(folder)))
    if taken > room:
        raise TemporaryFolderError(
            f"{name} = {folder}: its {taken} bytes are too many for {whose}, whose socket is made below it in a path "
            f"of {LONGEST} bytes at most: set {name} to a folder of at most {room} bytes, such as {name}=/tmp"
        )


def check_for_loaders() -> None:
    """See that loader workers can hand over their batches.

    Raises:
        TemporaryFolderError: the temporary folder's path is too long; they would wait for ever.
    """
    check_length(tempfile.gettempdir(), added=OF_LOADERS, name="TMPDIR", whose="loader workers (data.loader_workers)")
