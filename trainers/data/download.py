"""Staging: a data set in object storage, fetched once per node into the local cache."""

import fcntl
import functools
import hashlib
import json
import os
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from trainers.common.errors import DataError
from trainers.common.home import expanded
from trainers.common.object_uri import WAIT_S, is_uri, open_uri, reason, without_query
from trainers.common.retry import patiently
from trainers.data.layout import cache_folder

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")
AT_ONCE = 8
"""Files fetched at the same time."""
PIECE = 4 * 1024**2
"""Bytes of a file that are held in memory."""

Listing = list[tuple[str, int, int | None]]
"""Name, size and time of change (ns) of every file."""


def local_root(root: str) -> Path:
    """The folder that `data.root` names; where it is a URI, its copy in this node's cache, made if it is not there.

    Raises:
        DataError: the storage cannot be read, or holds nothing there.
    """
    return _staged(root, cache_folder()) if is_uri(root) else expanded(root)


@functools.lru_cache
def _staged(uri: str, cache: Path, wait_s: float = WAIT_S) -> Path:
    """Looked up once per process: what changes in the storage while a study runs is not taken up half-way."""
    shown = without_query(uri)
    files, path = open_uri(uri, key="data.root")
    try:
        listing = patiently(lambda: _listing(files, path), path=shown, wait_s=wait_s)
        if not listing:
            raise DataError(f"data.root = {shown}: nothing is there; give a folder, or an archive ({_archives()})")
        folder = cache / "staged" / _digest(shown, listing)
        if not folder.is_dir():
            _build(folder, files, path, listing, wait_s=wait_s)
    except (OSError, shutil.ReadError, ValueError) as error:
        raise DataError(
            f"data.root = {shown} cannot be staged into {cache / 'staged'}: {reason(error)}. See whether it exists, "
            "the credentials are set on this machine and its disk has room; or give a folder"
        ) from error
    return _below_single_folder(folder) if _is_archive(path) else folder


def _listing(files: Any, path: str) -> Listing:
    from pyarrow import fs

    info = files.get_file_info(path)
    if info.type == fs.FileType.File:
        if not _is_archive(path):
            raise DataError(f"data.root: {path} is a file and no archive ({_archives()}); give a folder or an archive")
        return [("", info.size, info.mtime_ns)]
    found = files.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
    return sorted(
        (str(one.path).removeprefix(f"{path}/"), one.size, one.mtime_ns)
        for one in found
        if one.type == fs.FileType.File
    )


def _digest(shown: str, listing: Listing) -> str:
    return hashlib.sha256(json.dumps([shown, listing]).encode()).hexdigest()[:16]


def _build(folder: Path, files: Any, path: str, listing: Listing, *, wait_s: float) -> None:
    """Fetched by the first process that comes, while the others wait; the folder appears under its name when it is
    whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            return
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        if _is_archive(path):
            archive = partial.with_name(f"{folder.name}.{path.rpartition('/')[2]}")
            try:
                _fetch(files, path, archive, wait_s=wait_s)
                _unpack(archive, partial)
            finally:
                archive.unlink(missing_ok=True)
        else:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(
                    pool.map(
                        lambda entry: _fetch(files, f"{path}/{entry[0]}", partial / entry[0], wait_s=wait_s), listing
                    )
                )
        partial.replace(folder)


def _fetch(files: Any, source: str, target: Path, *, wait_s: float) -> None:
    def copy() -> None:
        with files.open_input_stream(source) as stream, target.open("wb") as file:
            while piece := stream.read(PIECE):
                file.write(piece)

    target.parent.mkdir(parents=True, exist_ok=True)
    patiently(copy, path=source, wait_s=wait_s)


def _unpack(archive: Path, folder: Path) -> None:
    if archive.suffix == ".zip":
        shutil.unpack_archive(archive, folder)
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            inside = (folder / member.name).resolve().is_relative_to(folder.resolve())
            if not inside or not (member.isfile() or member.isdir()):
                raise DataError(
                    f"data.root: {archive.name} holds {member.name}, which is no file inside it; pack it anew"
                )
        if hasattr(tarfile, "data_filter"):  # from Python 3.11.4
            tar.extractall(folder, filter="data")
        else:
            tar.extractall(folder)


def _below_single_folder(folder: Path) -> Path:
    """An archive often holds one folder with everything in it."""
    entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    return Path(entries[0].path) if len(entries) == 1 and entries[0].is_dir() else folder


def _is_archive(path: str) -> bool:
    return path.lower().endswith(ARCHIVES)


def _archives() -> str:
    return ", ".join(ARCHIVES)
