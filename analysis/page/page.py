"""The page: what the template needs, in the form in which it needs it, and the file, whole or not at all."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from analysis.compute.atomic import replacing
from analysis.figures import style
from analysis.figures.inline_svg import data_uri
from analysis.figures.parallel import place, ticks
from analysis.ingest.tables import Tables
from analysis.page.template import rendered
from analysis.sections.section import Part, ReportSection, Unanswered
from analysis.stats.sensitivity.external_evidence import first_configuration, published
from analysis.stats.study import StudyTrials, Trial
from analysis.wording.answer_type import Answer
from analysis.wording.next_step import NextStep
from analysis.wording.phrases import shown

ICON = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><path d="M1 7V4h2v3zm2 0V1h2v6zm2 0V3h2v4z"/></svg>'


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of the table of trials; numbers stand to the right."""

    name: str
    number: bool = False


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A trial, as text: a cell for each column."""

    run_id: str
    state: str
    cells: tuple[str, ...]


def write_page(
    study_dir: Path,
    *,
    study: StudyTrials,
    tables: Tables,
    answer: Answer,
    next_step: NextStep,
    sections: Sequence[Part],
    problems: Sequence[str],
) -> Path:
    """Write `report.html`; returns its path."""
    columns, rows = trial_rows(study, _first(study, tables))
    answered = [one for one in sections if isinstance(one, ReportSection)]
    text = rendered(
        "report.html.j2",
        filters={"data_uri": data_uri, "for_phones": _for_phones},
        study=study,
        answer=answer,
        next=next_step,
        config=_config(tables, answer.best),
        sections=answered,
        unanswered=[one for one in sections if isinstance(one, Unanswered)],
        problems=problems,
        columns=columns,
        rows=rows,
        states=sorted({row.state for row in rows}),
        data=parallel_data(study) if any(section.interactive for section in answered) else None,
        icon=base64.b64encode(ICON.encode()).decode(),
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )
    page = study_dir / "report.html"
    with replacing(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return page


def trial_rows(study: StudyTrials, first: tuple[Trial, str] | None = None) -> tuple[list[Column], list[TableRow]]:
    """The table of all trials, by number. ``first``: a trial that is marked, with what it is called."""
    marks = {} if first is None else {first[0].run_id: f" · {first[1]}"}
    searched = [name for name in study.space if any(name in trial.values for trial in study.trials)]
    columns = [
        Column(name="trial", number=True),
        Column(name="run"),
        Column(name="state"),
        Column(name="epochs", number=True),
        Column(name=study.metric, number=True),
        *([Column(name=study.second_objective.metric, number=True)] if study.second_objective else []),
        Column(name="seed", number=True),
        Column(name="retries", number=True),
        *(Column(name=name) for name in searched),
        Column(name="error"),
    ]
    rows = [
        TableRow(
            run_id=trial.run_id,
            state=trial.state,
            cells=(
                str(trial.number),
                trial.run_id + marks.get(trial.run_id, ""),
                trial.state,
                f"{trial.epochs}/{study.max_epochs}",
                "–" if trial.score is None else f"{trial.score:.2f}",
                *([shown(trial.second_score, none="–")] if study.second_objective else []),
                "–" if trial.seed is None else str(trial.seed),
                str(trial.retries),
                *(shown(trial.values.get(name), none="–") for name in searched),
                trial.error or "",
            ),
        )
        for trial in study.trials
    ]
    return columns, rows


def parallel_data(study: StudyTrials) -> dict[str, Any]:
    """What the page's parallel coordinates are drawn from: axes, the score's last, and for every trial with a score its
    heights 0 .. 1 on them (none where a parameter was not active)."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    scored = sorted((trial for trial in study.trials if trial.curve), key=lambda trial: study.sign * (trial.score or 0))
    scores = [trial.score or 0.0 for trial in scored]
    low, high = min(scores, default=0.0), max(scores, default=1.0)
    high = high if high > low else low + 1.0
    score = {"kind": "uniform", "low": low, "high": high, "choices": None}
    axes = [*((name, study.space[name]) for name in study.drawn_parameters), (study.metric, score)]
    return {
        "label": f"Parallel coordinates of {len(scored)} trials",
        "axes": [
            {
                "name": name,
                "ticks": [(round(height, 4), label) for height, label in ticks(dimension)],
                "choices": None if dimension["choices"] is None else [str(choice) for choice in dimension["choices"]],
                "log": dimension["kind"].startswith("log"),
                "low": dimension["low"],
                "high": dimension["high"],
            }
            for name, dimension in axes
        ],
        "trials": [
            {
                "run": trial.run_id,
                "label": f"{study.metric} {trial.score:.2f} after {trial.epochs} of {study.max_epochs} epochs, "
                f"{trial.state}, seed {trial.seed}",
                "done": trial.state == "complete",
                "colour": to_hex(colormaps["viridis"]((value - low) / (high - low))),
                "at": [
                    *(_height(study.space[name], trial.values.get(name)) for name in study.drawn_parameters),
                    round((value - low) / (high - low), 4),
                ],
            }
            for trial, value in zip(scored, scores, strict=True)
        ],
    }


def _first(study: StudyTrials, tables: Tables) -> tuple[Trial, str] | None:
    """The trial that the others are held against by eye, and what it is: the paper's defaults, where it has them."""
    found = first_configuration(study, published(study, tables)) if len(tables.runs) else None
    return None if found is None else (found[0], found[1].partition(" (trial")[0])


def _height(dimension: dict[str, Any], value: Any) -> float | None:
    height = place(dimension, value)
    return None if height is None else round(height, 4)


def _config(tables: Tables, best: Trial | None) -> str:
    """The best trial's training config as YAML; empty where there is none."""
    if best is None:
        return ""
    from ruamel.yaml import YAML

    found = dict(zip(tables.runs["run_id"].to_pylist(), tables.runs["config"].to_pylist(), strict=True))
    text = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(json.loads(found[best.run_id]), text)
    return text.getvalue()


def _for_phones(figure: Path) -> Path | None:
    """The figure as drawn for one column, where it was."""
    narrow = style.one_column(figure)
    return narrow if narrow.exists() else None
