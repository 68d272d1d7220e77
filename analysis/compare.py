"""`ipix-tune compare studies/a studies/b`: several studies side by side, on one page."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from analysis.errors import LogsError
from analysis.page.compare import compare as compared
from analysis.sections.section import ReportSection

OUT = Path("comparison")
WIDE = 8
"""Columns above which a table is turned for the terminal: a column a study."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def compare(
    studies: Annotated[list[Path], typer.Argument(help="Folders of two studies or more.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to write tables/, plots/ and comparison.html.")] = OUT,
) -> None:
    """Tables, curves and costs of several studies, and one answer on every contrast that several confirmed."""
    side_by_side(studies, out)


def side_by_side(studies: list[Path], out: Path) -> None:
    """Make the page, and say what it says."""
    try:
        page, sections = compared(studies, out=out, say=typer.echo)
    except LogsError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    console = Console(markup=False, emoji=False)
    for section in sections:
        _say(section, console)
    typer.echo(f"comparison: {page}")


def _say(section: ReportSection, console: Console) -> None:
    console.print(section.title, style="bold", highlight=False, markup=False)
    console.print(section.reading, highlight=False, soft_wrap=True, markup=False)
    if section.table:
        wide = len(section.table[0]) > WIDE
        head, *rows = zip(*section.table, strict=True) if wide else section.table
        table = Table(*head)
        for row in rows:
            table.add_row(*row)
        console.print(table)


if __name__ == "__main__":
    app()
