"""The durable copy of a study in object storage: the work is done in local folders, and what changed is copied."""

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ipix_tune.config.study_config import StudyConfig
from ipix_tune.storage.object_store import Store, is_hidden, store_of
from trainers.common.atomic import replacing
from trainers.common.errors import OutputError
from trainers.loop.checkpoint_files import FRESH, PREVIOUS

NOT_COPIED = ("ray", "trials")
"""Folders of a study that its driver does not copy: Ray's scratch, and the trials, which copy themselves."""
EVERY_S = 30.0
"""Longest time between two copies of a study's own files."""
AT_ONCE = 8
"""Objects fetched or deleted at the same time."""
GROWING = (".log", ".wandb", ".jsonl")
"""Ends of the names of files to which is appended."""
SMALL = 64 * 1024
"""Bytes below which a file is always sent whole."""
MOST_PARTS = 100
"""Appended parts of a file before it is sent whole again; each is a request when the file is fetched."""

_APPENDED = re.compile(r"(.+)\.from-\d{12}")


@dataclass
class _Sent:
    """What the storage holds of a file: an object with its first ``whole`` bytes, and objects with what was appended
    since, by name. ``digest`` is of all ``size`` bytes."""

    whole: int
    size: int
    digest: bytes
    appended: list[str]


class ObjectCopy:
    """A local folder and its durable copy.

    Of a file that grew (the journal, W&B's logs) only what is new is sent, as an object of its own,
    ``<name>.from-<offset>``, until as much was appended as the whole object holds.

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
        self._sent: dict[str, _Sent] = {}
        self._removed: set[str] = set()

    def pull(self) -> int:
        """Fetch all there is over what lies in the folder; returns how many files. Each is whole under its name."""
        parts: dict[str, list[str]] = {}
        for name in self.store.keys(self.key):
            if name.split("/")[0] not in self._skip:
                found = _APPENDED.fullmatch(name)
                parts.setdefault(name if found is None else found[1], []).extend([] if found is None else [name])
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self._fetch, parts.keys(), parts.values()))
        return len(parts)

    def _fetch(self, name: str, appended: list[str]) -> None:
        """An appended part that the whole object holds already is left out."""
        path = self.folder / name
        data = self.store.get(f"{self.key}/{name}")
        whole = len(data)
        for part in sorted(appended):
            if int(part.rpartition("-")[2]) == len(data):
                data += self.store.get(f"{self.key}/{part}")
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(data)
        self._copied[name] = _stamp(path)
        self._note(name, data, whole=whole, appended=sorted(appended))

    def push(self, names: Iterable[str] | None = None, *, joined: bool = False) -> int:
        """Copy what changed since it was last copied or fetched; returns how many files. One that is deleted meanwhile
        (W&B's client does that) is left out.

        Args:
            names: files to look at; none: all.
            joined: leave every file as one object.
        """
        count = 0
        for name in self.names() if names is None else names:
            path = self.folder / name
            try:
                stamp = _stamp(path)
                in_parts = joined and name in self._sent and self._sent[name].appended
                if self._copied.get(name) == stamp and not in_parts:
                    continue
                data = path.read_bytes()
            except FileNotFoundError:
                continue
            self._send(name, data, joined=joined)
            self._copied[name] = stamp
            count += 1
        return count

    def _send(self, name: str, data: bytes, *, joined: bool) -> None:
        """The whole object is there before the parts that it holds are deleted; parts that continue something else are
        deleted before."""
        past = self._sent.get(name)
        grew = past is not None and len(data) >= past.size and _digest(data[: past.size]) == past.digest
        if past is not None and grew and not joined and len(data) < 2 * past.whole and len(past.appended) < MOST_PARTS:
            part = f"{name}.from-{past.size:012d}"
            self.store.put(f"{self.key}/{part}", data[past.size :])
            self._note(name, data, whole=past.whole, appended=[*past.appended, part])
            return
        old = [] if past is None else past.appended
        if not grew:
            self._delete(old)
        self.store.put(f"{self.key}/{name}", data)
        if grew:
            self._delete(old)
        self._note(name, data, whole=len(data), appended=[])

    def _delete(self, parts: list[str]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self.store.delete_object, [f"{self.key}/{part}" for part in parts]))

    def _note(self, name: str, data: bytes, *, whole: int, appended: list[str]) -> None:
        self._sent.pop(name, None)
        if name.endswith(GROWING) and (whole >= SMALL or appended):
            self._sent[name] = _Sent(whole=whole, size=len(data), digest=_digest(data), appended=appended)

    def names(self) -> list[str]:
        """Names of the files that are copied; links are not followed."""
        paths = [Path(folder) / name for folder, _, names in os.walk(self.folder) for name in names]
        copied = {path.relative_to(self.folder).as_posix(): path for path in paths}
        return [name for name, path in sorted(copied.items()) if self._is_copied(name) and not path.is_symlink()]

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
        return parts[0] not in self._skip and not is_hidden(name) and parts[-1] not in (FRESH, PREVIOUS)


class CopyKeeper:
    """Keeps a study's copy up to date while it runs. Its record goes last: whoever takes the study up from the copy
    finds there all that the record says is over.

    Args:
        copy: in object storage; None: there is none, and nothing happens.
        record: names of the files that hold the search: what was handed out, reported and ended.
        on_fault: called with the reason when the storage failed for longer than it is waited for.
    """

    def __init__(
        self, copy: ObjectCopy | None, *, record: tuple[str, ...] = (), on_fault: Callable[[str], None]
    ) -> None:
        self._copy, self._record, self._on_fault = copy, record, on_fault
        self._failed = False
        self._last = time.monotonic()

    def save(self) -> None:
        """Copy what changed now."""
        self._save(lambda name: True)
        self._last = time.monotonic()

    def save_end(self, key: str) -> None:
        """Copy a trial's W&B files and the record of its end."""
        self._save(lambda name: any(part.endswith(f"-{key}") for part in name.split("/")))

    def save_record(self) -> None:
        """Copy the record alone."""
        self._save(lambda name: False)

    def _save(self, wanted: Callable[[str], bool]) -> None:
        if self._copy is None:
            return
        copy = self._copy
        self._guarded(lambda: copy.push(name for name in copy.names() if name not in self._record and wanted(name)))
        self._guarded(lambda: copy.push(self._record))

    def look(self) -> None:
        """Copy what changed, where the last time is long ago; called often."""
        if time.monotonic() - self._last > EVERY_S:
            self.save()

    def remove_checkpoints(self, *, of: set[str]) -> None:
        """As `ObjectCopy.remove_checkpoints`."""
        if self._copy is not None:
            copy = self._copy
            self._guarded(lambda: copy.remove_checkpoints(of=of))

    def _guarded(self, call: Callable[[], object]) -> None:
        """Once it has failed the study is about to stop; it shall not wait again."""
        if self._failed:
            return
        try:
            call()
        except (OutputError, OSError) as error:
            self._failed = True
            self._on_fault(str(error))


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def copy_of(study: StudyConfig, folder: Path) -> ObjectCopy | None:
    """The durable copy of a study that works in ``folder``; None where `storage` is a path."""
    store = store_of(study)
    return None if store is None else ObjectCopy(store, study.name, folder, skip=NOT_COPIED)


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """A folder of this process on this node, deleted at the end. What a killed process left is deleted by the next."""
    base = Path(tempfile.gettempdir()) / f"ipix-tune-{os.getuid()}"
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in base.iterdir():
        owner = left.name.split("-")[0]
        if owner.isdigit() and not _is_alive(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=base))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def scratch(uri: str, key: str) -> Iterator[ObjectCopy]:
    """A folder of this process with what the storage holds of a trial."""
    with own_folder() as folder:
        copy = ObjectCopy(Store(uri), key, folder)
        copy.pull()
        yield copy


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
