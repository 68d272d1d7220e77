"""Names of ours that are imported in a function, or in code that a test hands to another process, exist: neither mypy
nor the import of a file sees them, and slow tests are seldom run."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("analysis", "benchmarks", "ipix_tune", "tests", "trainers")
FILES = [path for package in OURS for path in sorted((ROOT / package).rglob("*.py"))]
IMPORT = re.compile(rf"from ((?:{'|'.join(OURS)})(?:\.\w+)*) import (\([^)]*\)|[\w, ]+)")


def module_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def names_of(path):
    """All that a module binds."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add((node.asname or node.name).partition(".")[0])
    return found


@pytest.fixture(scope="module")
def bound():
    """The names of every module and package of ours; of a package, those of its modules too."""
    found = {module_of(path): names_of(path) for path in FILES}
    for module in list(found):
        *parents, last = module.split(".")
        if parents:
            found.setdefault(".".join(parents), set()).add(last)
    return found


def test_every_name_of_ours_that_is_imported_anywhere_exists(bound):
    wrong = []
    for path in FILES:
        for module, names in IMPORT.findall(path.read_text()):
            asked = [one.split(" as ")[0].strip() for one in names.strip("()").split(",")]
            wrong += [(path.name, module, name) for name in asked if name and name not in bound.get(module, ())]
    assert wrong == []
