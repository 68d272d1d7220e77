"""The study's folder: what lies where, whose it is, and that only one driver works in it."""

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ipix_tune.config.study_config import StudyConfig
from ipix_tune.storage.atomic import FolderError, replace_bytes
from ipix_tune.storage.object_sync import ObjectCopy
from ipix_tune.storage.study_identity import IDENTITY, identity, new_identity
from ipix_tune.storage.study_identity import STUDY as STUDY
from ipix_tune.trainer import told_checkpoints
from trainers.common.environment import describe
from trainers.common.object_uri import is_uri, without_query
from trainers.loop.run_identity import differences

TRIALS = "trials"
ENVIRONMENT, LOCK = "environment.json", ".lock"
LEFT = frozenset({IDENTITY, LOCK, TRIALS})
"""What a start leaves that was refused, or cut off, before it wrote the study's file."""
WORK = "studies"
"""Folder in which a driver works whose studies lie in object storage."""
FREE_BYTES = 500 * 1024**2
"""Least free space on the study's disk for a start."""

AFTERMATH_S = 60.0
"""How long after a trial's end something may still be written into its folder."""

CHANGEABLE = (
    "budget", "resources", "retries", "on_out_of_memory", "storage", "keep_checkpoints", "logging", "name", "confirm",
    "stop_after_same_error",
)  # fmt: skip
"""Sections that a resumed study may change: they say how much and where, not what the search compares. A confirmation
that has begun keeps its plan (`ipix_tune.study.run_confirm`)."""


def study_folder(study: StudyConfig) -> Path:
    """<storage>/<name>, absolute; where `storage` is a URI, studies/<name> in the working directory."""
    return (Path(WORK if is_uri(study.storage) else study.storage) / study.name).absolute()


def refuse(study: StudyConfig, *, resume: bool, copy: ObjectCopy | None = None) -> None:
    """See, without writing anything, whether the study may begin or go on in its folder. It is asked before data, W&B
    and Ray, which take seconds each, and again when the folder is prepared.

    Args:
        copy: in object storage; a study that is resumed goes on from it, whatever is in its folder.

    Raises:
        FolderError: it exists and ``resume`` was not asked for; there is nothing to resume; it belongs to a study that
            differs in more than `CHANGEABLE`.
    """
    from ipix_tune.config.load_study import load

    if copy is not None and copy.store.exists(f"{copy.key}/{STUDY}"):
        if not resume:
            raise FolderError(
                f"{without_query(study.storage)}/{study.name} exists. Continue that study with --resume, or give this "
                "one another name with --name"
            )
        return
    folder = study_folder(study)
    file = folder / STUDY
    try:
        begun, taken = file.is_file(), _is_taken(folder)
    except OSError as error:
        raise FolderError(f"{folder}: cannot be read: {error.strerror}; give another --set storage=...") from None
    if resume:
        if not begun:
            raise FolderError(f"{folder}: there is no study to resume; leave out --resume to start it")
        before = load(file).model_dump(mode="json", exclude=set(CHANGEABLE))
        after = study.model_dump(mode="json", exclude=set(CHANGEABLE))
        if changed := differences(before, after):
            raise FolderError(
                f"{folder} holds another study; it differs in {'; '.join(changed[:8])}. Resume with the study "
                f"file that it was started with ({file}), or give this one another --name"
            )
    elif taken:
        raise FolderError(
            f"{folder} exists. Continue that study with --resume, or give this one another name with --name"
        )


def _is_taken(folder: Path) -> bool:
    """Whether something lies there that no start has left which never began."""
    found = list(folder.iterdir()) if folder.exists() else []
    return any(one.name not in LEFT or (one.is_dir() and any(one.iterdir())) for one in found)


def prepare(study: StudyConfig, *, resume: bool, accept: Callable[[Path], object] = lambda folder: None) -> Path:
    """Make the study's folder, or check that it is this study's; then write the study's file into it.

    Args:
        accept: called with the folder before anything is written into it; what it raises leaves the folder as it was.

    Raises:
        FolderError: it exists and ``resume`` was not asked for; there is nothing to resume; it belongs to a study
            that differs in more than `CHANGEABLE`; its disk is full.
    """
    from ipix_tune.config.load_study import dump

    folder = study_folder(study)
    file = folder / STUDY
    refuse(study, resume=resume)
    try:
        (folder / TRIALS).mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise FolderError(f"{folder}: cannot be made: {error.strerror}; give another --set storage=...") from None
    if free < FREE_BYTES:
        raise FolderError(
            f"{folder}: no space left on the study's disk: {free / 1e6:.0f} MB free, {FREE_BYTES / 1e6:.0f} MB needed "
            "at least. Free some, or give another --set storage=..."
        )
    accept(folder)
    if not (folder / IDENTITY).is_file():  # an old study gets its first name, before its file has another
        replace_bytes(folder / IDENTITY, (identity(folder, study) if resume else new_identity(study.name)).encode())
    replace_bytes(file, dump(study).encode())
    replace_bytes(folder / ENVIRONMENT, json.dumps(describe(), indent=2).encode())
    return folder


@contextmanager
def prepared(
    study: StudyConfig,
    *,
    resume: bool,
    copy: ObjectCopy | None = None,
    accept: Callable[[Path], object] = lambda folder: None,
) -> Iterator[Path]:
    """The study's folder, ready and held by this process alone. A second driver is refused before it changes a file.
    A study that is resumed and has a copy in object storage goes on from the copy, wherever it ran before.

    Args:
        accept: as for :func:`prepare`.

    Raises:
        FolderError: as :func:`prepare` and :func:`only_driver`.
    """
    folder = study_folder(study)
    if copy is not None and copy.store.exists(f"{copy.key}/{STUDY}"):
        refuse(study, resume=resume, copy=copy)
        folder.mkdir(parents=True, exist_ok=True)
        with only_driver(folder):
            copy.pull()
            yield prepare(study, resume=True, accept=accept)
        return
    if (folder / LOCK).exists() and resume:
        with only_driver(folder):
            yield prepare(study, resume=resume, accept=accept)
        return
    prepare(study, resume=resume, accept=accept)
    with only_driver(folder):
        yield folder


@contextmanager
def only_driver(folder: Path) -> Iterator[None]:
    """Hold the study's folder; a second driver is refused.

    Raises:
        FolderError: another process holds it.
    """
    with (folder / LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
                raise FolderError(
                    f"{folder / LOCK}: cannot be locked: {error.strerror} ({errno.errorcode.get(error.errno or 0)}). "
                    "Its file system must pass on flock (docs/how-to/cluster.md, Storage); "
                    "give another --set storage=..."
                ) from None
            lock.seek(0)
            raise FolderError(
                f"{folder}: another driver runs this study ({lock.read().strip() or 'unknown'}); stop it first"
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {os.uname().nodename}")
        lock.flush()
        yield


class Checkpoints:
    """The checkpoints of a study's trials, removed as trials end.

    A trial is looked at for `AFTERMATH_S` after it was first named, since its workers may still write for a moment, and
    then no more: what a trial costs that has long ended must not grow with the study.

    Args:
        folder: the study's folder.
        clock: seconds, from any start.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._named: dict[str, float] = {}

    def remove(self, *, of: set[str]) -> None:
        """Delete the checkpoints of these trials."""
        now = self._clock()
        recent = {key for key in of if now - self._named.setdefault(key, now) <= AFTERMATH_S}
        remove_checkpoints(self._folder, of=recent)


def remove_checkpoints(folder: Path, *, of: set[str]) -> None:
    """Delete the checkpoints of these trials; configs, metrics and environments stay."""
    for key in of:
        shutil.rmtree(folder / "trials" / key / "checkpoints", ignore_errors=True)
        told_checkpoints.remove(folder / "trials" / key)


def trials_of(folder: Path, copy: ObjectCopy | None = None) -> set[str]:
    """Names of the folders of all trials of a study, those of its copy in object storage among them."""
    return {path.name for path in (folder / "trials").glob("*")} | (copy.trials() if copy is not None else set())


def load_study(place: Path, overrides: list[str]) -> "StudyConfig":
    """The study of a folder, where it lies now, or of a study file.

    Raises:
        UserError: there is none, or the file or an override cannot be used.
    """
    from ipix_tune.config.confirm_section import ConfirmError
    from ipix_tune.config.load_study import load
    from ipix_tune.storage.study_folder import STUDY
    from trainers.common.errors import did_you_mean
    from trainers.common.object_uri import is_uri
    from trainers.common.paths import is_file, is_folder

    if not is_folder(place, what="the study"):
        if not is_file(place, what="the study"):
            there = [str(folder.parent) for folder in place.parent.glob(f"*/{STUDY}")]
            raise ConfirmError(f"there is no study folder and no study file {place}{did_you_mean(str(place), there)}")
        return load(place, overrides)
    if not is_file(place / STUDY, what="the study"):
        raise ConfirmError(f"{place}: no study's folder: it holds no {STUDY}")
    study = load(place / STUDY, overrides)
    if is_uri(study.storage):
        return study
    return study.model_copy(update={"name": place.absolute().name, "storage": str(place.absolute().parent)})
