"""The durable copy of a study in object storage: the work is done in local folders, and what changed is copied."""

import contextlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ipix_tune.config import StudyConfig
from trainers.checkpoint import FRESH, PREVIOUS
from trainers.errors import OutputError, UserError
from trainers.patience import patiently
from trainers.remote import WAIT_S, is_uri, open_uri, reason, without_query

NOT_COPIED = ("ray", "trials")
"""Folders of a study that its driver does not copy: Ray's scratch, and the trials, which copy themselves."""
EVERY_S = 30.0
"""Longest time between two copies of a study's own files."""
AT_ONCE = 8
"""Objects fetched at the same time."""

T = TypeVar("T")


class StoreError(UserError):
    """The object storage cannot be used as the study file says."""


class Store:
    """Objects below a URI. An object is there whole under its name, or not at all.

    Args:
        uri: any that `trainers.remote` takes.
        wait_s: how long a request that fails is tried again, in seconds.
    """

    def __init__(self, uri: str, *, wait_s: float = WAIT_S) -> None:
        self.uri, self.wait_s = uri, wait_s
        self._files, self._root = open_uri(uri, key="storage")
        self._puts_are_whole = self._files.type_name != "local"

    def check(self) -> None:
        """Write an object, read it back and delete it.

        Raises:
            StoreError: the storage cannot be reached, or does not take it.
        """
        key, data = f".seen-{uuid.uuid4().hex}", b"ipix-tune"
        try:
            self._put(key, data)
            same = self._get(key) == data
            self._files.delete_file(self._at(key))
        except (OSError, ValueError) as error:
            raise StoreError(
                f"storage = {without_query(self.uri)} cannot be reached or written: {reason(error)}. See whether the "
                "bucket exists, the credentials are set on this machine and the endpoint is right; or give another "
                "--set storage=..."
            ) from None
        if not same:
            raise StoreError(f"storage = {without_query(self.uri)}: what was written came back changed")

    def exists(self, key: str) -> bool:
        """Whether there is an object, or anything below it."""
        from pyarrow import fs

        info = self._patiently(lambda: self._files.get_file_info(self._at(key)), key)
        return bool(info.type != fs.FileType.NotFound)

    def keys(self, prefix: str) -> list[str]:
        """Names of all objects below ``prefix``, relative to it."""
        from pyarrow import fs

        at = self._at(prefix)
        infos = self._patiently(
            lambda: self._files.get_file_info(fs.FileSelector(at, recursive=True, allow_not_found=True)), prefix
        )
        names = [str(info.path).removeprefix(f"{at}/") for info in infos if info.type == fs.FileType.File]
        return sorted(name for name in names if not _is_hidden(name))

    def put(self, key: str, data: bytes) -> None:
        """Write an object in the place of what was there."""
        self._patiently(lambda: self._put(key, data), key)

    def get(self, key: str) -> bytes:
        """A whole object."""
        return self._patiently(lambda: self._get(key), key)

    def delete(self, prefix: str) -> None:
        """Delete an object or all that lies below a name; nothing there is fine."""
        for name in self.keys(prefix):
            at = self._at(f"{prefix}/{name}")
            self._patiently(lambda at=at: self._files.delete_file(at), prefix)  # type: ignore[misc]

    def _put(self, key: str, data: bytes) -> None:
        at = self._at(key)
        if self._puts_are_whole:
            self._write(at, data)
            return
        folder, _, name = at.rpartition("/")
        self._files.create_dir(folder, recursive=True)
        temporary = f"{folder}/.{name}.{os.getpid()}"
        self._write(temporary, data)
        self._files.move(temporary, at)

    def _write(self, at: str, data: bytes) -> None:
        """In one piece, since a stream that is closed early would leave a torn object under its final name."""
        stream = self._files.open_output_stream(at)
        stream.write(data)
        stream.close()

    def _get(self, key: str) -> bytes:
        """pyarrow asks for the size, then for so many bytes, and fills up with zeros: an object that was replaced in
        between is read again."""
        at = self._at(key)
        while True:
            with self._files.open_input_stream(at) as stream:
                before = stream.metadata()
            with self._files.open_input_file(at) as file:
                data = bytes(file.read(file.size()))
            with self._files.open_input_stream(at) as stream:
                if stream.metadata() == before:
                    return data

    def _at(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _patiently(self, request: Callable[[], T], key: str) -> T:
        name = f"{without_query(self.uri)}/{key}"
        try:
            return patiently(request, path=name, wait_s=self.wait_s)
        except OSError as error:
            raise OutputError(f"{name}: object storage failed: {reason(error)}; mend that, then resume") from error


class Mirror:
    """A local folder and its durable copy.

    Args:
        store: where the copy lies.
        key: its name there.
        folder: the local folder.
        skip: names at the folder's top that are not copied; neither are hidden files, nor checkpoints beside the last
            and the best: an object cannot be torn, so that no earlier one is needed.
    """

    def __init__(self, store: Store, key: str, folder: Path, *, skip: tuple[str, ...] = ()) -> None:
        self.store, self.key, self.folder = store, key, folder
        self._skip = skip
        self._copied: dict[str, tuple[int, int]] = {}
        self._removed: set[str] = set()

    def pull(self) -> int:
        """Fetch all there is over what lies in the folder; returns how many files. Each is whole under its name."""
        names = [name for name in self.store.keys(self.key) if name.split("/")[0] not in self._skip]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self._fetch, names))
        return len(names)

    def _fetch(self, name: str) -> None:
        path = self.folder / name
        data = self.store.get(f"{self.key}/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_bytes(data)
        temporary.replace(path)
        self._copied[name] = _stamp(path)

    def push(self) -> int:
        """Copy what changed since it was last copied or fetched; returns how many files. One that is deleted meanwhile
        (W&B's client does that) is left out."""
        count = 0
        for path in self._local_files():
            name = path.relative_to(self.folder).as_posix()
            try:
                stamp = _stamp(path)
                if self._copied.get(name) == stamp:
                    continue
                data = path.read_bytes()
            except FileNotFoundError:
                continue
            self.store.put(f"{self.key}/{name}", data)
            self._copied[name] = stamp
            count += 1
        return count

    def _local_files(self) -> list[Path]:
        """Those that are copied; links are not followed."""
        paths = [Path(folder) / name for folder, _, names in os.walk(self.folder) for name in names]
        return [
            path
            for path in sorted(paths)
            if self._is_copied(path.relative_to(self.folder).as_posix()) and not path.is_symlink()
        ]

    def remove_checkpoints(self, *, of: set[str]) -> None:
        """Delete the copied checkpoints of these trials of a study."""
        for key in sorted(of - self._removed):
            self.store.delete(f"{self.key}/trials/{key}/checkpoints")
            self._removed.add(key)

    def trials(self) -> set[str]:
        """Keys of the trials of a study that have a copy."""
        return {name.split("/")[0] for name in self.store.keys(f"{self.key}/trials")}

    def _is_copied(self, name: str) -> bool:
        parts = name.split("/")
        return parts[0] not in self._skip and not _is_hidden(name) and parts[-1] not in (FRESH, PREVIOUS)


class Keeper:
    """Keeps a study's copy up to date while it runs.

    Args:
        mirror: the copy; None: there is none, and nothing happens.
        on_fault: called with the reason when the storage failed for longer than it is waited for.
    """

    def __init__(self, mirror: Mirror | None, *, on_fault: Callable[[str], None]) -> None:
        self._mirror, self._on_fault = mirror, on_fault
        self._failed = False
        self._last = time.monotonic()

    def save(self) -> None:
        """Copy what changed now."""
        if self._mirror is not None:
            self._guarded(self._mirror.push)
            self._last = time.monotonic()

    def look(self) -> None:
        """Copy what changed, where the last time is long ago; called often."""
        if time.monotonic() - self._last > EVERY_S:
            self.save()

    def remove_checkpoints(self, *, of: set[str]) -> None:
        """As the mirror's."""
        if self._mirror is not None:
            mirror = self._mirror
            self._guarded(lambda: mirror.remove_checkpoints(of=of))

    def _guarded(self, call: Callable[[], object]) -> None:
        """Once it has failed the study is about to stop; it shall not wait again."""
        if self._failed:
            return
        try:
            call()
        except (OutputError, OSError) as error:
            self._failed = True
            self._on_fault(str(error))


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def store_of(study: StudyConfig) -> Store | None:
    """The study's object storage; None where `storage` is a path."""
    return Store(study.storage) if is_uri(study.storage) else None


def copy_of(study: StudyConfig, folder: Path) -> Mirror | None:
    """The durable copy of a study that works in ``folder``; None where `storage` is a path."""
    store = store_of(study)
    return None if store is None else Mirror(store, study.name, folder, skip=NOT_COPIED)


@contextlib.contextmanager
def scratch(uri: str, key: str) -> Iterator[Mirror]:
    """A folder of this process on this node with what the storage holds of a trial, deleted at the end. What a killed
    process left is deleted by the next."""
    base = Path(tempfile.gettempdir()) / f"ipix-tune-{os.getuid()}"
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in base.iterdir():
        owner = left.name.split("-")[0]
        if owner.isdigit() and not _is_alive(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=base))
    try:
        mirror = Mirror(Store(uri), key, folder, skip=("ray",))
        mirror.pull()
        yield mirror
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
