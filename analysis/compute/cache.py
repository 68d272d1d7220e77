"""What is kept of a report's work, by a digest of what it was worked out from, so that the next one does not repeat it.

One digest stands for one result, bit for bit: it is taken of the inputs themselves, of the program's own sources and of
the packages that compute and draw. So a report is the same whatever is kept.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache, cached_property, partial
from importlib.metadata import version
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.compute.atomic import replacing

PACKAGES = ("numpy", "scipy", "matplotlib")
PLAIN = (str, int, float, type(None))


@cache
def program() -> str:
    """Changes with the sources of this package and with the versions of `PACKAGES`."""
    root = Path(__file__).parent.parent
    found = hashlib.sha256(repr([(name, version(name)) for name in PACKAGES]).encode())
    for path in sorted(root.rglob("*.py")):
        found.update(f"\n{path.relative_to(root).as_posix()}\n".encode() + path.read_bytes())
    return found.hexdigest()


def digest(*values: Any) -> str:
    """Of plain values, arrays, functions of this package, and containers, dataclasses and objects of these: equal for
    equal contents, whatever objects hold them.

    Raises:
        TypeError: something else is among them.
    """
    found = hashlib.sha256(program().encode())
    for piece in _pieces(values):
        found.update(piece)
    return found.hexdigest()


class Digested:
    """A dataclass with its digest, taken once: for one that is large, and the input of much."""

    @cached_property
    def digest(self) -> str:
        assert is_dataclass(self)
        return digest([(one.name, getattr(self, one.name)) for one in fields(self)])


def digest_of_file(path: Path) -> str | None:
    """Digest of a file's bytes; None where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _pieces(value: Any) -> Iterator[bytes]:
    """What stands for a value, without ambiguity: every piece is the text of a literal, or is announced with its
    size."""
    if isinstance(value, (*PLAIN, slice, np.generic)):
        yield f"{value!r},".encode()
    elif isinstance(value, np.ndarray):
        yield f"array {value.dtype.str} {value.shape}:".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, Mapping):
        yield b"{"
        if all(isinstance(one, PLAIN) for one in value.values()):
            yield repr(list(value.items())).encode()
        else:
            for name, one in value.items():
                yield f"{name!r}:".encode()
                yield from _pieces(one)
        yield b"}"
    elif isinstance(value, tuple | list):
        yield b"["
        for one in value:
            yield from _pieces(one)
        yield b"]"
    elif isinstance(value, set | frozenset):
        yield b"set "
        yield from _pieces(sorted(digest(one) for one in value))
    elif isinstance(value, partial):
        yield from _pieces((value.func, value.args, value.keywords))
    elif isinstance(value, FunctionType):
        yield f"{value.__module__}.{value.__qualname__},".encode()
    elif isinstance(value, Digested):
        yield f"{type(value).__qualname__} {value.digest},".encode()
    else:
        names = [field.name for field in fields(value)] if is_dataclass(value) else sorted(vars(value))
        yield f"{type(value).__qualname__}(".encode()
        for name in names:
            yield from _pieces(getattr(value, name))
        yield b")"


def save_arrays(path: Path, key: str, arrays: Mapping[str, Any]) -> None:
    """Keep arrays under a digest, in the place of what the file held, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, key=np.array(key), **arrays)


def load_arrays(path: Path, key: str) -> dict[str, NDArray[Any]] | None:
    """What was kept under a digest; None where it is something else, nothing, or damaged."""
    try:
        with np.load(path, allow_pickle=False) as held:
            return {name: held[name] for name in held.files} if str(held["key"]) == key else None
    except Exception:  # of a damaged file its readers raise errors of many kinds
        return None
