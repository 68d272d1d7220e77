"""Object storage as a study uses it: whole objects under names, tried again while it fails."""

import contextlib
import os
import uuid
from collections.abc import Callable
from typing import TypeVar

from ipix_tune.config.study_config import StudyConfig
from trainers.common.errors import OutputError, UserError
from trainers.common.object_uri import WAIT_S, is_uri, open_uri, reason, without_query
from trainers.common.retry import patiently

T = TypeVar("T")


class StoreError(UserError):
    """The object storage cannot be used as the study file says."""


class Store:
    """Objects below a URI. An object is there whole under its name, or not at all.

    Args:
        uri: any that `trainers.common.object_uri` takes.
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
        return sorted(name for name in names if not is_hidden(name))

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
            self._patiently(lambda at=at: self._delete(at), prefix)  # type: ignore[misc]

    def delete_object(self, key: str) -> None:
        """Delete one object; nothing there is fine."""
        self._patiently(lambda: self._delete(self._at(key)), key)

    def _delete(self, at: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._files.delete_file(at)

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
        """Write an object in one piece: a stream that is closed early would leave a torn one under its final name."""
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


def store_of(study: StudyConfig) -> Store | None:
    """The study's object storage; None where `storage` is a path."""
    return Store(study.storage) if is_uri(study.storage) else None


def is_hidden(name: str) -> bool:
    """Whether a name, or a folder in it, starts with a dot."""
    return any(part.startswith(".") for part in name.split("/"))
