"""`python -m analysis.report studies/voc`: tables, figures and one page, from W&B logs and nothing else."""

import base64
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.errors import LogsError
from analysis.tables import Tables, build_tables, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from analysis.stats.study import Study

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

DISTANCE = "interpixel.distance"


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
    from analysis.stats.study import from_tables

    tables, problems = read(study_dir, online=online)
    save(tables, study_dir)
    study = from_tables(tables)
    sections = _sections(study, study_dir / "plots")
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


@dataclass(frozen=True, kw_only=True)
class Section:
    """One question, one sentence of reading, one figure (light and dark SVG), or none."""

    title: str
    reading: str
    figures: tuple[Path, ...]
    alt: str


def _sections(study: "Study", plots: Path) -> list[Section]:
    from analysis import findings
    from analysis.figures import comparison, curves, fidelity, importance, parallel, parameters, progress, style
    from analysis.stats.compare import compare
    from analysis.stats.fidelity import fidelity as rung_fidelity
    from analysis.stats.importance import importance as measure

    def drawn(name: str, draw: Callable[[style.Theme], "Figure"]) -> tuple[Path, ...]:
        return tuple(style.save(draw(theme), plots, name, theme) for theme in style.THEMES)

    scored = sum(bool(trial.curve) for trial in study.trials)
    if scored == 0:
        return []
    found = [
        Section(
            title="How did the search go?",
            reading=f"{scored} trials have a score. Only one that ran all {study.max_epochs} epochs can be incumbent.",
            figures=drawn("progress", lambda theme: progress.draw(study, theme)),
            alt="Score of every trial in the order of its end, with the incumbent",
        )
    ]
    if study.parameters:
        weights = measure(study)
        found += [
            Section(
                title="Which parameters matter?",
                reading=findings.say_importance(weights, study),
                figures=drawn("importance", lambda theme: importance.draw(weights, theme)) if weights else (),
                alt="Share of variance per parameter with intervals",
            ),
            Section(
                title="What did every parameter do?",
                reading="Compare dots of one colour only: a darker dot ran fewer epochs, and had less time to score.",
                figures=drawn("parameters", lambda theme: parameters.draw(study, theme)),
                alt="Scatter of every parameter against the last score, coloured by epochs",
            ),
            Section(
                title="Which combinations did well?",
                reading="Each line is a trial; a line that breaks has a parameter that was not active in it.",
                figures=drawn("parallel", lambda theme: parallel.draw(study, theme)),
                alt="Parallel coordinates of all trials",
            ),
        ]
    if {"kl", "cr"} <= set((study.space.get(DISTANCE) or {}).get("choices") or ()):
        pair = compare(study, DISTANCE, first="kl", second="cr")
        found.append(
            Section(
                title="KL or CR?",
                reading=findings.say_comparison(pair, first="kl", second="cr"),
                figures=drawn("kl-cr", lambda theme: comparison.draw(pair, theme, unit=style.unit(study.metric)))
                if pair
                else (),
                alt="Scores of trials with KL and with CR at the same budget",
            )
        )
    found.append(
        Section(
            title="Did the rungs stop the right trials?",
            reading=findings.say_curves(study),
            figures=drawn("curves", lambda theme: curves.draw(study, theme)),
            alt="Learning curves of all trials",
        )
    )
    told = rung_fidelity(study)
    found.append(
        Section(
            title="Do early epochs tell?",
            reading=findings.say_fidelity(told, study),
            figures=drawn("fidelity", lambda theme: fidelity.draw(told, study, theme)) if told else (),
            alt="Rank correlation of every rung's scores with the final scores, with intervals",
        )
    )
    return found


def _write_page(study_dir: Path, tables: Tables, sections: list[Section], problems: list[str]) -> Path:
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
