"""Makes the report: tables, figures and one page, from W&B logs and nothing else."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.errors import LogsError

if TYPE_CHECKING:
    from analysis.ingest.tables import Tables


SURROGATE = "surrogate.npz"
"""File in `tables/` that keeps the last report's surrogate, see `analysis.compute.cache`."""


def build(
    study_dir: Path,
    *,
    out: Path | None = None,
    online: str | None = None,
    printed: bool = False,
    say: Callable[[str], object] = lambda line: None,
) -> Path:
    """Make the report of a study; returns the page's path.

    Args:
        study_dir: the study's folder. Only `wandb/` in it is read, and what an earlier report left in `tables/`.
        out: where to write; None: into the study's folder.
        online: W&B's entity/project, to read from the server too.
        printed: draw the figures for print too, which takes as long again.
        say: is told how much was read.

    Raises:
        LogsError: there are no logs, none can be read, or the folder cannot be written.
    """
    from analysis.compute.process_pool import prepare

    out = out or study_dir
    if (study_dir / "wandb").is_dir():
        check_writable(out)
        prepare()
    from analysis.ingest.read_study import read_study

    reading = read_study(study_dir, out=out, online=online)
    say(f"logs: {reading.read} runs read, {reading.known} known from the last report")
    return render(study_dir, reading.tables, reading.problems, out=out, printed=printed)


def check_writable(out: Path) -> None:
    """Raises LogsError where no report can be written into the folder."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise LogsError(
            f"{out}: no report can be written there: {error.strerror}; give another folder with --out DIR"
        ) from None


def render(
    study_dir: Path, tables: "Tables", problems: list[str], *, out: Path | None = None, printed: bool = False
) -> Path:
    """The figures, the tables of results and the page, from the tables; returns the page's path. What has not changed
    since the last report is not worked out again.

    Args:
        study_dir: the study's folder, which the page's commands name.
        tables: of its runs.
        problems: what was wrong with the logs, for the page.
        out: where to write; None: into the study's folder.
        printed: draw the figures for print too.
    """
    from analysis.compute.process_pool import workers
    from analysis.figures.render import Figures
    from analysis.ingest.tables import FOLDER
    from analysis.page.page import write_page
    from analysis.page.table_classes import write_classes
    from analysis.page.table_confirm import write_confirmed
    from analysis.page.table_search import write_results
    from analysis.sections.confirmation import confirmation_sections, confirmed_headline
    from analysis.sections.constraints import constraint_sections
    from analysis.sections.images import image_sections
    from analysis.sections.pareto import pareto_sections
    from analysis.sections.search import search_sections
    from analysis.sections.surrogate import surrogate_sections
    from analysis.sections.unanswered import for_this_trainer
    from analysis.stats.confirm.results import confirmed as confirmed_in
    from analysis.stats.sensitivity.cross_validation import fit_and_check
    from analysis.stats.sensitivity.external_evidence import confirmed_pairs
    from analysis.stats.study import from_tables
    from analysis.wording.next_step import next_step
    from analysis.wording.search import answer

    study = from_tables(tables)
    out = out or study_dir
    confirmed = confirmed_in(tables)
    if confirmed is not None and not confirmed.runs:
        confirmed = None
    with workers() as pool, Figures(out / "plots", pool=pool, printed=printed) as figures:
        confirmation, pareto = confirmation_sections(confirmed, figures), pareto_sections(study, figures)
        search = search_sections(study, figures, () if confirmed is None else confirmed_pairs(confirmed))
        checked = fit_and_check(study, keep=out / FOLDER / SURROGATE, pool=pool)
        surrogate = surrogate_sections(study, tables, figures, checked, confirmed)
        images = image_sections(study, tables, figures, study_dir, confirmed)
        write_results(study, out)
        write_classes(study, tables, out)
        if confirmed is not None:
            write_confirmed(confirmed, out)
        found = answer(study, tables, confirmed=confirmed_headline(confirmed))
    place = Path("studies") / study.name if study_dir.is_absolute() else study_dir
    return write_page(
        out,
        study=study,
        tables=tables,
        answer=found,
        next_step=next_step(study, tables, place, confirmed),
        sections=for_this_trainer(
            [
                *confirmation,
                *(images if confirmed is not None else ()),
                *pareto,
                *search,
                *constraint_sections(study),
                *(images if confirmed is None else ()),
                *surrogate,
            ],
            tables,
        ),
        problems=problems,
    )
