"""What a reader opens who follows one trial from its YAML line to its row in the report.

    python -m benchmarks.trial_walk                       # of this tree
    python -m benchmarks.trial_walk --tree ../older       # of another checkout, for comparison

One trial of two epochs is searched, trained, logged and reported by the tree's own command, with every process watched.
Its reader opens a function when it is called for the first time, in that order, whichever process calls it. A room is a
package, such as `ipix_tune.search` or `trainers.data`.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

HOOK = """
import ast, builtins, os, sys, time
from importlib.machinery import PathFinder, SourceFileLoader

TREE, OUT, PACKAGES = os.environ["IPIX_WALK_TREE"], os.environ["IPIX_WALK_OUT"], os.environ["IPIX_WALK_PACKAGES"]
opened = set()


def open_function(name):
    if name not in opened:
        opened.add(name)
        with open(f"{OUT}/{os.getpid()}", "a") as file:
            file.write(f"{time.monotonic():.6f} {name}\\n")


class Loader(SourceFileLoader):
    def get_code(self, fullname):
        path = self.get_filename(fullname)
        module = ast.parse(self.get_data(path))
        for node in ast.walk(module):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                name = ast.Constant(f"{path[len(TREE):]} {node.name}:{node.lineno}")
                called = ast.Call(ast.Name("__open_function__", ast.Load()), [name], [])
                node.body.insert(ast.get_docstring(node) is not None, ast.Expr(called))
        return compile(ast.fix_missing_locations(module), path, "exec", dont_inherit=True)


class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in PACKAGES.split():
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and (spec.origin or "").startswith(TREE):
            spec.loader = Loader(name, spec.origin)
        return spec


builtins.__open_function__ = open_function
sys.meta_path.insert(0, Finder())
"""
PACKAGES = ("ipix_tune", "analysis", "trainers")
ONE_TRIAL = [
    "budget.trials=1",
    "trainer.schedule.epochs=2",
    "trainer.schedule.steps_per_epoch=2",
    "trainer.evaluation.every=1",
    "scheduler.grace_epochs=1",
    "confirm.after_search=false",
]


def walked(tree: Path) -> list[tuple[str, str]]:
    """(file, function) in the order of first calls, files relative to ``tree``."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "hook").mkdir()
        (folder / "out").mkdir()
        (folder / "hook" / "sitecustomize.py").write_text(HOOK)
        paths = os.pathsep.join([str(tree), str(folder / "hook")])
        watched = {"PYTHONPATH": paths, "IPIX_WALK_TREE": f"{tree}/", "IPIX_WALK_OUT": str(folder / "out")}
        watched["IPIX_WALK_PACKAGES"] = " ".join(PACKAGES)
        command = [sys.executable, "-m", "ipix_tune.sweep", "search_spaces/digits.yaml", "--set", f"storage={folder}"]
        subprocess.run(
            [*command, *(f"--set={one}" for one in ONE_TRIAL)],
            cwd=tree,
            env={**os.environ, **watched},
            check=True,
            stdout=sys.stderr,
        )
        lines = [line.split(" ") for file in (folder / "out").iterdir() for line in file.read_text().splitlines()]
    calls = dict.fromkeys((file, function) for _, file, function in sorted(lines, key=lambda line: float(line[0])))
    return [call for call in calls if call[0].split("/")[0] in PACKAGES]


def returns(calls: Sequence[tuple[str, str]]) -> int:
    """How often the next function lies in a room that had been left before."""
    left: set[str] = set()
    found, room = 0, ""
    for file, _ in calls:
        new = file.rpartition("/")[0]
        if new != room:
            found += new in left
            left.add(room)
            room = new
    return found


def main(tree: Annotated[Path, typer.Option(help="A checkout.")] = Path()) -> None:
    """Print a row of the table."""
    calls = walked(tree.resolve())
    files = dict.fromkeys(file for file, _ in calls)
    each = ", ".join(f"{sum(file.startswith(f'{name}/') for file in files)} in {name}" for name in PACKAGES)
    rooms = len({file.rpartition("/")[0] for file in files})
    typer.echo(f"| {len(files)} ({each}) | {len(calls)} | {rooms} | {returns(calls)} |")


if __name__ == "__main__":
    typer.run(main)
