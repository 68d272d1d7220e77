"""Every benchmark command that a docstring or the documentation gives is one that its command line takes."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest
import typer

ROOT = Path(__file__).parents[2]


def commands() -> list[str]:
    """One for each choice of a|b."""
    sources = sorted((ROOT / "benchmarks").glob("*.py"))
    texts = [ast.get_docstring(ast.parse(source.read_text())) or "" for source in sources]
    texts += [page.read_text() for page in sorted((ROOT / "docs").rglob("*.md"))]
    found = [command for text in texts for command in re.findall(r"python -m (benchmarks\.[^`\n]+)", text)]
    return sorted({command.replace(several, one) for command in found for several, one in _choices(command)})


def _choices(command: str) -> list[tuple[str, str]]:
    several = next((word for word in command.split() if "|" in word), "")
    return [(several, one) for one in several.split("|")]


@pytest.mark.parametrize("given", commands())
def test_a_documented_command_is_taken(given, tmp_path):
    name, *words = shlex.split(re.sub(r"[\[\]]", "", given).replace("PATH", str(tmp_path)), comments=True)
    module = importlib.import_module(name)
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"{name}.__main__")
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer()
        app.command()(module.main)
    command = typer.main.get_command(app)
    if hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context(name, words)
