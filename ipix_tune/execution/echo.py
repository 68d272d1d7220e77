"""Lines on the console that a study and its engine share."""

from pathlib import Path

from rich.console import Console


def say(console: Console, text: str) -> None:
    """One line as it is."""
    console.print(text, highlight=False, soft_wrap=True, markup=False)


def near(path: Path) -> Path:
    """The path, relative to the working directory where it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
