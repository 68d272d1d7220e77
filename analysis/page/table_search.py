"""The results as a paper takes them: every configuration that ran at full budget, with its seeds, as CSV and LaTeX."""

import csv
from collections.abc import Sequence
from pathlib import Path

from analysis.compute.atomic import replacing
from analysis.ingest.tables import FOLDER
from analysis.page.latex import cell, escaped, table
from analysis.stats.configuration_means import Result, results
from analysis.stats.study import StudyTrials

SHOWN = 10
"""Rows of the LaTeX table; the CSV has all."""


def write_results(study: StudyTrials, study_dir: Path) -> None:
    """`tables/results.csv` and `tables/results.tex`, each whole or not at all."""
    found = results(study)
    names = [name for name in study.parameters if any(name in one.trials[0].values for one in found)]
    folder = study_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, write in (("results.csv", _csv), ("results.tex", _tex)):
        with replacing(folder / name) as temporary:
            write(temporary, study, found, names)


def _csv(path: Path, study: StudyTrials, found: Sequence[Result], names: Sequence[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["rank", "trials", "seeds", f"mean {study.metric}", "sd", "low95", "high95", "epochs", "split_hash", *names]
        )
        for rank, one in enumerate(found, 1):
            numbers = " ".join(str(trial.number) for trial in one.trials)
            row = [
                rank,
                numbers,
                one.seeds,
                one.mean,
                one.spread,
                one.low,
                one.high,
                study.max_epochs,
                study.split_hash,
            ]
            writer.writerow([*row, *(one.trials[0].values.get(name) for name in names)])


def _tex(path: Path, study: StudyTrials, found: Sequence[Result], names: Sequence[str]) -> None:
    shown = found[:SHOWN]
    rows = [
        [
            str(one.trials[0].number),
            *(cell(one.trials[0].values.get(name)) for name in names),
            str(one.seeds),
            _score(one),
        ]
        for one in shown
    ]
    text = table(
        ["trial", *names, "seeds", study.metric],
        rows,
        columns=f"r{'l' * len(names)}rr",
        caption=_caption(study, found, shown),
        label=study.name,
    )
    path.write_text(text, encoding="utf-8")


def _caption(study: StudyTrials, found: Sequence[Result], shown: Sequence[Result]) -> str:
    seeds = sorted({one.seeds for one in shown})
    counts = "no configuration" if not seeds else f"{seeds[0]} seed{'s' * (seeds[0] != 1)} each"
    if len(seeds) > 1:
        counts = f"{seeds[0]} to {seeds[-1]} seeds each"
    measured = (
        "with the 95~\\% interval of the mean over seeds where there are several; a configuration with one seed has no "
        "interval, and its rank is provisional"
    )
    count = sum(trial.state == "infeasible" for trial in study.trials)
    broke = f", of which {count} broke a constraint and {'is' if count == 1 else 'are'} left out" if count else ""
    return (
        f"Study {escaped(study.name)}: {escaped(study.metric)} after the full budget of {study.max_epochs} epochs, "
        f"{measured}. The {len(shown)} best of {len(found)} configurations that ran to the end, {counts}; split "
        f"{escaped((study.split_hash or 'unknown')[:12])}; {len(study.trials)} trials in all{broke}."
    )


def _score(one: Result) -> str:
    if one.low is None or one.high is None:
        return f"{one.mean:.2f}"
    return f"{one.mean:.2f} [{one.low:.2f}, {one.high:.2f}]"
