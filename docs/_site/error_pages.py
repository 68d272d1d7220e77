"""One page for each kind of error: its docstring, how a command ends with it, and what it says, from the source."""

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from analysis.errors import LogsError
from trainers.common.errors import TrainingError, UserError

ROOT = Path(__file__).parents[2]
PACKAGES = ("trainers", "ipix_tune", "analysis")


def _sources() -> Iterator[tuple[Path, ast.Module]]:
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            yield file.relative_to(ROOT), ast.parse(file.read_text(encoding="utf-8"))


def kinds() -> dict[str, type[Exception]]:
    """Every exception class of the packages that is public, by its name."""
    found: dict[str, type[Exception]] = {}
    for file, tree in _sources():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and any(
                isinstance(base, ast.Name) and base.id.endswith(("Error", "Exception")) for base in node.bases
            ):
                one = getattr(import_module(".".join(file.with_suffix("").parts)), node.name)
                if not node.name.startswith("_") and issubclass(one, UserError | TrainingError | ValueError):
                    found[node.name] = one
    return dict(sorted(found.items()))


def messages() -> dict[str, list[tuple[Path, str]]]:
    """By the name of the exception: file and text of every `raise` of it; what is filled in stands as `<name>`."""
    found: dict[str, list[tuple[Path, str]]] = {}
    for file, tree in _sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
                text = _text(node.exc.args[0]) if node.exc.args else ""
                if re.search(r"[a-z]{2,} ", re.sub(r"<[^>]*>", "", text)):
                    found.setdefault(node.exc.func.id, []).append((file, text))
    return found


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return f"<{_name(node.value)}>"
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return f"<{_name(node)}>"


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    return "..."


def ending(kind: type[Exception]) -> str:
    """How a command ends that meets it."""
    if issubclass(kind, TrainingError):
        return (
            "The command ends with exit code 1. In a study the trial fails, and is taken up again or counted as failed."
        )
    if issubclass(kind, UserError | LogsError):
        return "The command ends with exit code 2, one line, and no traceback."
    return "Python functions raise it. No command meets it: a study file with such a value is refused before."


def pages() -> dict[str, str]:
    """Markdown by file name: an index, and one page a kind."""
    said = messages()
    every = kinds()
    index = [
        "# Errors",
        "",
        "A message names the file, the key, the value, what is allowed and what to do. Each kind of error has a page",
        "with all that it can say; search this site for the words of a message. `<name>` stands for what is filled in.",
        "",
        "| error | when | exit code |",
        "|---|---|---|",
    ]
    written = {}
    for name, kind in every.items():
        about = inspect.cleandoc(kind.__doc__ or "")
        code = 1 if issubclass(kind, TrainingError) else 2 if issubclass(kind, UserError | LogsError) else "none"
        index.append(f"| [{name}]({name}.md) | {' '.join(about.split())} | {code} |")
        base = kind.__bases__[0].__name__
        kind_of = f" It is a kind of [{base}]({base}.md)." if base in every else ""
        lines = [f"# {name}", "", about, "", f"`{kind.__module__}.{name}`.{kind_of}", "", ending(kind), ""]
        if said.get(name):
            lines += ["## What it says", ""]
            lines += [f"- ``{' '.join(text.split())}``  \n  in `{file}`" for file, text in said[name]]
        written[f"{name}.md"] = "\n".join(lines) + "\n"
    return {"index.md": "\n".join(index) + "\n", **written}
