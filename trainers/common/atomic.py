"""Files that are written whole or not at all."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new file beside ``path``, to write to; at the end it takes the place of ``path``. After an error ``path`` is as
    it was, and the new file is gone."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def append_whole(path: Path, line: str) -> None:
    """Append a line, or leave the file as it was.

    Raises:
        OSError: the folder is not there, or the disk is full.
    """
    with path.open("ab", buffering=0) as file:
        end, data = file.tell(), line.encode()
        try:
            if file.write(data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(end)
            raise
