"""What the commands of benchmarks that are one function have in common."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import typer

from ipix_tune.cli import exit_codes


def called(module: str) -> str:
    """The command line that is running, as it is told under a table; ``module`` without the package."""
    return shlex.join(["python", "-m", f"benchmarks.{module}", *sys.argv[1:]])


def written(text: str, out: Path | None) -> None:
    """Print a table, and write it to ``out`` where that is given."""
    if out is not None:
        out.write_text(text)
    print(text)


def run_command(main: Callable[..., None]) -> None:
    """Run it with the arguments of the command line; a user's mistake is exit code 2, without a traceback."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    exit_codes.run(app)
