"""Opening one file of a data set: whatever goes wrong with it is an error that names the file and its line."""

import contextlib
import errno
import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from trainers.common.errors import DataError
from trainers.data.layout import Item

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # half of Pillow's limit, which we keep

MACHINE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN}
"""What the machine or its network lacks when a file is opened: no fault of the file."""


class CorruptError(DataError):
    """A file cannot be opened or decoded; the only error that `on_corrupt: skip` forgives."""


class MeaningError(DataError):
    """A file can be decoded, but what its pixels mean cannot be told or is not supported."""


@contextlib.contextmanager
def opened(path: Path, item: Item) -> Iterator[Image.Image]:
    """The image file, its header read.

    Args:
        item: whose image or mask it is.

    Raises:
        CorruptError: it is missing, a broken link, damaged, no image, or larger than Pillow opens.
        DataError: the machine cannot open it: its memory, its open files, the connection to its file server.
    """
    try:
        with Image.open(path) as image:
            yield image
    except DataError:
        raise
    except Exception as error:
        raise named_fault(path, item, error) from error


def named_fault(path: Path, item: Item, error: Exception) -> DataError:
    """What a reader's error is to the user, with file and line: readers raise errors of some ten kinds on damaged
    files."""
    named, remedy = f"(named in {item.where or item.name})", "take its line out, or set data.on_corrupt: skip"
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if isinstance(error, Image.DecompressionBombError):
        return CorruptError(
            f"{path}: too large to be read, {reason.split(',')[0]} {named}; cut it into tiles, {remedy}"
        )
    if isinstance(error, MemoryError):
        return DataError(f"{path}: not enough memory to decode it {named}; cut it into tiles")
    if isinstance(error, OSError) and error.errno in MACHINE:
        return DataError(f"{path}: cannot be read now, {error.strerror} {named}; this is not the file's fault")
    if isinstance(error, OSError) and error.errno is not None:
        reason = error.strerror or reason
        if isinstance(error, FileNotFoundError):
            reason = f"broken link to {path.readlink()}" if path.is_symlink() else "no such file"
        return CorruptError(f"{path}: cannot be opened, {reason} {named}; mend that, {remedy}")
    if isinstance(error, UnidentifiedImageError):
        reason = _no_image(path)
    return CorruptError(f"{path}: cannot be decoded, {reason} {named}; replace the file, {remedy}")


def _no_image(path: Path) -> str:
    """What a file is in which Pillow recognises no image."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError:
        start = b"?"
    if not start:
        return "it is empty"
    if start.startswith(b"version https://git-lfs"):
        return "it is the pointer of a file in Git LFS (git lfs pull fetches that)"
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "it is a page of HTML, as a download leaves that failed"
    return "it is no image of a format that Pillow reads"
