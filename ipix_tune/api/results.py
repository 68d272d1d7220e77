"""A study's folder, read: tables, answer, verdicts, figures, best config."""

import html
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ipix_tune.trainer.interface import Config

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from matplotlib.figure import Figure

    from analysis.ingest.tables import Tables
    from analysis.stats.confirm.paired_verdict import Verdict
    from analysis.stats.confirm.results import Confirmed
    from analysis.stats.study import StudyTrials
    from analysis.wording.answer_type import Answer

SHOWN = 10
"""Rows of the table in a notebook."""


class Results:
    """What a study has found so far. In a notebook it shows its answer and its best trials.

    Args:
        folder: the study's folder, such as `studies/voc`.

    Raises:
        UserError: there is no such folder, or it has neither logs nor tables.
    """

    def __init__(self, folder: str | Path) -> None:
        from ipix_tune.study.export import read_tables

        self.folder = Path(folder)
        self._tables: Tables = read_tables(self.folder)

    @cached_property
    def _study(self) -> "StudyTrials":
        from analysis.stats.study import from_tables

        return from_tables(self._tables)

    @cached_property
    def _confirmed(self) -> "Confirmed | None":
        from analysis.stats.confirm.results import confirmed

        found = confirmed(self._tables)
        return found if found is not None and found.runs else None

    @property
    def runs(self) -> "pa.Table":
        """A row for every run: its values, state, last score, split and times. `analysis.columns` lists the columns."""
        return self._tables.runs

    @property
    def history(self) -> "pa.Table":
        """A row for every run and epoch: all metrics that the trainer reported."""
        return self._tables.history

    def to_pandas(self) -> "pd.DataFrame":
        """:attr:`runs` as a pandas frame.

        Raises:
            ImportError: pandas is not installed.
        """
        frame: pd.DataFrame = self.runs.to_pandas()
        return frame

    @cached_property
    def answer(self) -> "Answer":
        """What the report's first screen says: question, headline, how far to trust it, cost."""
        from analysis.sections.confirmation import confirmed_headline
        from analysis.wording.search import answer

        return answer(self._study, self._tables, confirmed=confirmed_headline(self._confirmed))

    @property
    def verdicts(self) -> "tuple[Verdict, ...]":
        """Every comparison of the confirmation, with its interval; none where nothing was confirmed yet."""
        return () if self._confirmed is None else tuple(self._confirmed.judgement.verdicts)

    @property
    def best_config(self) -> Config:
        """The whole config of the best run, as `ipix-tune export --no-final` writes it.

        Raises:
            UserError: no trial has a score.
        """
        from ipix_tune.study.export import chosen_config

        return chosen_config(self._tables, self.folder)

    def export(self, out: str | Path, *, force: bool = False) -> Path:
        """Write the best config with where it came from, as `ipix-tune export` does.

        Args:
            out: the YAML file.
            force: overwrite it.

        Raises:
            UserError: there is nothing to export, or the file exists.
        """
        from ipix_tune.study.export import export_best

        export_best(self.folder, Path(out), force=force)
        return Path(out)

    def report(self, out: str | Path | None = None) -> Path:
        """Make the report; returns the page's path.

        Args:
            out: another folder to write to.

        Raises:
            UserError: it cannot be written.
        """
        from analysis.page.build import build

        return build(self.folder, out=None if out is None else Path(out))

    def figures(self) -> "dict[str, Figure]":
        """The figures of the search, and of the confirmation where there is one, by name, as matplotlib figures."""
        from analysis.figures import confirmation, incumbent, learning_curves, parallel, parameters, style

        draw = {"incumbent": incumbent, "learning curves": learning_curves, "parameters": parameters}
        if len(self._study.drawn_parameters) > 1:
            draw["parallel coordinates"] = parallel
        found = {name: module.draw(self._study, style.LIGHT) for name, module in draw.items()}
        if self._confirmed is not None:
            found["confirmation"] = confirmation.draw(self._confirmed, style.LIGHT)
        return found

    def __repr__(self) -> str:
        return f"<Results of {self.folder}: {self.answer.headline}>"

    def _repr_html_(self) -> str:
        study, parts = self._study, [f"<p><b>{html.escape(self.answer.headline)}</b></p>"]
        parts += [f"<p>{html.escape(self.answer.trust)}</p>"] if self.answer.trust else []
        if self.verdicts:
            parts += ["<ul>", *(f"<li>{html.escape(one.words)}</li>" for one in self.verdicts), "</ul>"]
        shown = study.ranked[:SHOWN]
        names = list(study.parameters)
        cells = [("trial", f"{study.metric} ({study.max_epochs} epochs)", "seeds", *names)]
        for one in shown:
            values = study.runs_of(one)[0].values
            cells.append(
                (str(one.number), f"{one.score:.2f}", str(one.seeds), *(str(values.get(n, "–")) for n in names))
            )
        rows = ["<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in cells]
        told = f"<p>The {len(shown)} best of {len(study.ranked)} configurations; {html.escape(self.answer.cost)}</p>"
        return "".join([*parts, "<table>", *rows, "</table>", told])
