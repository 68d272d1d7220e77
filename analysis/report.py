"""`python -m analysis.report studies/voc`: tables, figures and one page, from W&B logs and nothing else."""

import base64
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.errors import LogsError
from analysis.tables import Tables, build_tables, save

if TYPE_CHECKING:
    from analysis.sections.section import Section

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def report(
    study: Annotated[Path, typer.Argument(help="Folder of the study, such as studies/voc.")],
    online: Annotated[
        str | None,
        typer.Option(metavar="ENTITY/PROJECT", help="Read the runs from a W&B server instead of the folder's files."),
    ] = None,
) -> None:
    """Write tables/, plots/ and report.html into the study's folder."""
    try:
        page = build(study, online=online)
    except LogsError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    typer.echo(f"report: {page}")


def build(study_dir: Path, *, online: str | None = None) -> Path:
    """Make the report of a study; returns the page's path.

    Args:
        study_dir: the study's folder. Only `wandb/` in it is read, or nothing with ``online``.
        online: W&B's entity/project, to read from the server.

    Raises:
        LogsError: there are no logs, or none can be read.
    """
    from analysis.sections.search import search_sections
    from analysis.sections.surrogate import surrogate_sections
    from analysis.stats.study import from_tables

    tables, problems = read(study_dir, online=online)
    save(tables, study_dir)
    study = from_tables(tables)
    sections = search_sections(study, study_dir / "plots") + surrogate_sections(study, tables, study_dir / "plots")
    return _write_page(study_dir, tables, sections, problems)


def read(study_dir: Path, *, online: str | None) -> tuple[Tables, list[str]]:
    """Tables from the logs, and what was wrong with the log files."""
    if online is not None:
        from analysis.logs.online import read_project

        study_dir.mkdir(parents=True, exist_ok=True)
        return build_tables(read_project(online, study=study_dir.name)), []
    from analysis.logs.offline import read_folder

    logs = study_dir / "wandb"
    if not study_dir.is_dir():
        raise LogsError(f"{study_dir}: there is no such study folder")
    if not logs.is_dir():
        raise LogsError(f"{study_dir}: it has no W&B logs (wandb/); was the study run with logging.mode: disabled?")
    logged, problems = read_folder(logs)
    if not logged:
        raise LogsError(f"{logs}: no run can be read. " + ("; ".join(problems) or "The folder holds no run files."))
    return build_tables(logged), problems


def _write_page(study_dir: Path, tables: Tables, sections: "list[Section]", problems: list[str]) -> Path:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from analysis.findings import answer
    from analysis.stats.study import from_tables

    study = from_tables(tables)
    environment = Environment(
        loader=PackageLoader("analysis"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    text = environment.get_template("report.html.j2").render(
        study=study,
        answer=answer(study, tables),
        sections=sections,
        problems=problems,
        parameters=[name for name in study.space if any(name in trial.values for trial in study.trials)],
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )
    page = study_dir / "report.html"
    temporary = page.with_name(f".{page.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(page)
    return page


def _data_uri(svg: Path) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.read_bytes()).decode()


if __name__ == "__main__":
    app()
