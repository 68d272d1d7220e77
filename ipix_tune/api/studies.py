"""A study from Python: plan it, run it, confirm it, or ask it for trials and tell it what became of them."""

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ipix_tune.api.results import Results
from ipix_tune.config.study_config import StudyConfig

if TYPE_CHECKING:
    from rich.console import Console

    from ipix_tune.api.ask_tell import AskTell, OwnTrial

Overrides = Mapping[str, Any]
"""Dotted keys of the study file, such as {"budget.trials": 8}."""


class Study:
    """A study: what its file says, checked as `ipix-tune validate` checks it.

    Args:
        source: a study file, or a mapping with the keys of one.
        overrides: laid over it, by dotted key.
        trainer: a function that trains, called as ``trainer(config, report)``; the study's `trainer` section has its
            `config`, `epochs` and `score`. See docs/how-to/add-a-trainer.md.

    Raises:
        ConfigError: with file, line, key, and what to do.
    """

    def __init__(
        self,
        source: str | Path | Mapping[str, Any],
        overrides: Overrides | None = None,
        *,
        trainer: Callable[..., object] | None = None,
    ) -> None:
        from ipix_tune.config.load_study import from_mapping, load

        if trainer is not None:
            from ipix_tune.trainer.function import hand_over

            overrides = {**(overrides or {}), "trainer.function": hand_over(trainer)}
        given = [f"{key}={json.dumps(value)}" for key, value in (overrides or {}).items()]
        self.config: StudyConfig = (
            from_mapping(source, given) if isinstance(source, Mapping) else load(Path(source), given)
        )
        self._asked: AskTell | None = None

    @property
    def folder(self) -> Path:
        """Where the study lies, or will."""
        from ipix_tune.storage.study_folder import study_folder

        return study_folder(self.config)

    def plan(self) -> str:
        """What the study will do and cost, without a cluster: data, trials, rungs, price.

        Raises:
            UserError: the study cannot run: data, weights, batch.
        """
        from rich.console import Console

        from ipix_tune.study.dry_run import dry_run

        console = Console(file=io.StringIO(), record=True, width=120, markup=False, emoji=False)
        console.print(dry_run(self.config, cluster=None))
        return console.export_text()

    def run(self, *, resume: bool = False, address: str | None = None, console: "Console | None" = None) -> Results:
        """Run the search on Ray, and make tables, report and best config; the progress shows in a terminal and in
        Jupyter.

        Args:
            resume: take the study up where it stopped.
            address: a Ray cluster, or auto; None: RAY_ADDRESS, else a Ray on this machine.
            console: where the progress goes.

        Raises:
            UserError: anything that can be known before a trial starts.
        """
        from rich.console import Console

        from ipix_tune.study.run_search import finish, run

        console = console or Console(markup=False, emoji=False)
        outcome = run(self.config, resume=resume, address=address, console=console)
        finish(self.config, outcome, console=console)
        return Results(outcome.folder)

    def confirm(self, *, address: str | None = None, console: "Console | None" = None) -> Results:
        """Train the leading configurations with paired seeds until the verdicts are in, as the study's `confirm`
        section says; one that has begun goes on.

        Raises:
            UserError: it has no such section; the search has not ended; anything that can be known before a run starts.
        """
        from rich.console import Console

        from ipix_tune.study.confirm_plan import FOLDER, PLAN
        from ipix_tune.study.run_confirm import confirm
        from ipix_tune.study.run_search import finish

        console = console or Console(markup=False, emoji=False)
        begun = (self.folder / FOLDER / PLAN).exists()
        outcome = confirm(self.config, resume=begun, address=address, console=console)
        finish(self.config, outcome, console=console)
        return Results(outcome.folder)

    def results(self) -> Results:
        """What the study has found so far.

        Raises:
            UserError: it has logged nothing yet.
        """
        return Results(self.folder)

    def ask(self) -> "OwnTrial | None":
        """A trial of the study's own search, for a loop of one's own; None when the budget is used up. The first call
        takes the study's folder: a new one, or one that such a loop has begun before.

        Raises:
            UserError: the folder cannot be used.
        """
        from ipix_tune.api.ask_tell import AskTell

        if self._asked is None:
            self._asked = AskTell(self.config)
        return self._asked.ask()

    def tell(
        self, trial: "OwnTrial", score: float | None = None, *, epoch: int | None = None, error: str | None = None
    ) -> None:
        """How a trial ended: with a score, or, without one, that it failed.

        Args:
            trial: what :meth:`ask` gave.
            score: of the study's objective. Not needed after :meth:`OwnTrial.report`.
            epoch: after so many; None: the full length, or the last one reported.
            error: why it failed.

        Raises:
            ValueError: the trial is not open; no score was ever reported and no error is given.
        """
        if self._asked is None:
            raise ValueError("tell() without ask(): no trial is open")
        self._asked.tell(trial, score, epoch=epoch, error=error)

    def close(self) -> None:
        """Let go of the folder after :meth:`ask`, and close the logs; trials that are open go on when it is asked
        again."""
        if self._asked is not None:
            self._asked.close()
            self._asked = None

    def __enter__(self) -> "Study":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        study = self.config
        return f"<Study {study.name}: {len(study.search)} search dimensions, {study.budget.trials} trials>"


def open_study(folder: str | Path) -> Results:
    """The results in a study's folder, whoever ran it.

    Args:
        folder: such as `studies/voc`.

    Raises:
        UserError: there is no such folder, or it has neither logs nor tables.
    """
    return Results(folder)
