"""What `benchmarks.trial_walk` puts before everything else in each process that it watches, as `sitecustomize`.

Every function of ours is compiled with two questions in it: which numbers it was given, and which it returns. Numbers
are looked for in what is handed over as data, a few levels deep: mappings, sequences, values with named fields, small
tables and arrays, and lines of JSON. Objects that do something, such as a run or a store, are not opened. A whole
config is not opened either, since it is handed to nearly everything; a section is, for numbers of its own.
"""

import ast
import builtins
import dataclasses
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, GeneratorType
from typing import Any

TREE = os.environ.get("IPIX_WALK_TREE", "")
OUT = os.environ.get("IPIX_WALK_OUT", "")
PACKAGES = os.environ.get("IPIX_WALK_PACKAGES", "").split()
LEVELS = 3
"""A trial's message holds its parameters, and a table its columns."""
MOST = 40
"""Entries of one collection that are looked at."""
TELLING = re.compile(r"-?\d*\.\d{4,}(?:e-?\d+)?")
"""Numbers that mark whose they are: nobody writes 0.8 with four digits by chance."""

OFTEN = 300
"""Calls of one function that are looked at."""

seen: set[tuple[str, str]] = set()
calls: Counter[str] = Counter()


def numbers(value: Any, levels: int = LEVELS) -> Iterator[str]:
    """The telling numbers in a value, as Python writes them."""
    if isinstance(value, float):
        if TELLING.fullmatch(repr(value)):
            yield repr(value)
        return
    if isinstance(value, str | bytes):
        text = value.decode(errors="ignore") if isinstance(value, bytes) else value
        yield from (repr(float(one)) for one in TELLING.findall(text[:4000]))
        return
    if levels == 0:
        return
    for one in parts(value)[:MOST]:
        yield from numbers(one, levels - 1)


def parts(value: Any) -> list[Any]:
    """What a value that is data consists of."""
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, one.name, None) for one in dataclasses.fields(value)]
    kind = f"{type(value).__module__.partition('.')[0]}.{type(value).__name__}"
    if kind in ("pyarrow.Table", "pyarrow.ChunkedArray") and len(value) <= MOST:
        return list(value.to_pylist())
    if kind == "numpy.ndarray" and value.size <= MOST:
        return list(value.ravel().tolist())
    if isinstance(getattr(type(value), "model_fields", None), dict):
        return [one for one in vars(value).values() if isinstance(one, float)]
    return []


def note(name: str, *values: Any) -> None:
    """Write down a function and the numbers that it sees for the first time."""
    calls[name] += 1
    if calls[name] > OFTEN:
        return
    try:
        found = {number for value in values if not isinstance(value, GeneratorType) for number in numbers(value)}
    except Exception:  # a value that cannot be looked at, such as a closed file, says nothing
        return
    new = {(name, number) for number in found} - seen
    if (name, "") not in seen:
        new.add((name, ""))
    if new:
        seen.update(new)
        with Path(OUT, str(os.getpid())).open("a") as file:
            file.writelines(f"{time.monotonic():.6f} {json.dumps([one, number])}\n" for one, number in sorted(new))


def hand_on(name: str, value: Any) -> Any:
    """The value that a function returns."""
    note(name, value)
    return value


class Asking(ast.NodeTransformer):
    """Puts the questions into every function of a module."""

    def __init__(self, path: str) -> None:
        self.path, self.inside = path, [""]

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.inside.append(f"{self.path} {node.name}:{node.lineno}")
        self.generic_visit(node)
        name = ast.Constant(self.inside.pop())
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        every += [one for one in (node.args.vararg, node.args.kwarg) if one is not None]
        given = [ast.Name(one.arg, ast.Load()) for one in every if one.arg not in ("self", "cls")]
        asked = ast.Expr(ast.Call(ast.Name("__note__", ast.Load()), [name, *given], []))
        node.body.insert(ast.get_docstring(node) is not None, asked)
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.Lambda:
        return node

    def visit_Return(self, node: ast.Return) -> ast.Return:
        if node.value is not None and self.inside[-1]:
            name = ast.Constant(self.inside[-1])
            node.value = ast.Call(ast.Name("__hand_on__", ast.Load()), [name, node.value], [])
        return node


class Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        module = Asking(path[len(TREE) :]).visit(ast.parse(self.get_data(path)))
        return compile(ast.fix_missing_locations(module), path, "exec", dont_inherit=True)


class Finder:
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name.split(".")[0] not in PACKAGES:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin is not None and spec.origin.startswith(TREE):
            spec.loader = Loader(name, spec.origin)
        return spec


if __name__ == "sitecustomize":
    builtins.__note__ = note  # type: ignore[attr-defined]
    builtins.__hand_on__ = hand_on  # type: ignore[attr-defined]
    sys.meta_path.insert(0, Finder())
