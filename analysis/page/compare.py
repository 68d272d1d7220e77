"""Several studies side by side, as one page with its tables and figures."""

import csv
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from analysis.compute.atomic import replacing
from analysis.errors import LogsError
from analysis.figures.inline_svg import data_uri
from analysis.ingest.tables import FOLDER, Tables, load
from analysis.page.build import check_writable
from analysis.page.template import rendered
from analysis.sections.section import ReportSection
from analysis.stats.across_studies import Contrast, Entered, contrasts, entered
from analysis.wording.across import STUDY_HEAD, study_row

PAGE = "comparison.html"


def compare(
    studies: Sequence[Path], *, out: Path, say: Callable[[str], object] = lambda line: None
) -> tuple[Path, list[ReportSection]]:
    """Make the page; returns its path and what it says.

    Args:
        studies: folders of two studies or more.
        out: where to write.
        say: is told of each study that was read.

    Raises:
        LogsError: one of them has no logs and no tables, is named twice or is a copy of another, or ``out`` cannot be
            written.
    """
    from analysis.figures.render import Figures
    from analysis.sections.across import across_sections

    places = [one.absolute().resolve() for one in studies]
    if len(set(places)) < max(2, len(places)):
        raise LogsError("name two different studies or more, each once, such as: ipix-tune compare studies/a studies/b")
    check_writable(out)
    labels = _labels(places)
    entries = []
    for label, place in zip(labels, places, strict=True):
        entries.append(entered(label, _tables(place)))
        for earlier in entries[:-1]:
            if earlier.run_ids & entries[-1].run_ids:
                raise LogsError(f"{earlier.label} and {label} hold the same runs: one is a copy; name one of them")
        say(f"{label}: {entries[-1].runs} runs")
    with Figures(out / "plots") as figures:
        sections = across_sections(entries, figures)
    _write_tables(entries, contrasts(entries), out / FOLDER)
    return _write_page(labels, sections, out), sections


def _labels(places: Sequence[Path]) -> list[str]:
    """The folders' names, as far up as they differ."""
    for depth in range(1, max(len(place.parts) for place in places)):
        labels = ["/".join(place.parts[-depth:]) for place in places]
        if len(set(labels)) == len(labels):
            return labels
    return [str(place) for place in places]


def _tables(place: Path) -> Tables:
    """Of a study, made anew from its logs where it has them."""
    from analysis.ingest.read_study import read_study

    if (place / "wandb").is_dir():
        return read_study(place).tables
    if not place.is_dir():
        raise LogsError(f"{place}: there is no such study folder")
    return load(place)


def _write_tables(entries: Sequence[Entered], found: Sequence[Contrast], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    head = ["first", "second", "metric", "study", "difference", "low", "high", "verdict", "pairs", "studies"]
    rows: list[list[object]] = [[*head]]
    for one in found:
        pair, answer = [one.first, one.second, one.metric], one.pooled
        for effect in one.effects:
            row = [effect.label, effect.effect, effect.low, effect.high, effect.kind, effect.pairs, 1]
            rows.append([*pair, *row])
        pairs = sum(effect.pairs for effect in one.effects)
        rows.append([*pair, "all", answer.mean, answer.low, answer.high, answer.kind, pairs, answer.studies])
    tables: dict[str, Sequence[Sequence[object]]] = {
        "studies.csv": [STUDY_HEAD, *(study_row(one) for one in entries)],
        "contrasts.csv": rows,
    }
    for name, content in tables.items():
        with replacing(folder / name) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(content)


def _write_page(labels: Sequence[str], sections: Sequence[ReportSection], out: Path) -> Path:
    text = rendered(
        "compare.html.j2",
        filters={"data_uri": data_uri},
        labels=labels,
        sections=sections,
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )
    with replacing(out / PAGE) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return out / PAGE
