"""The one place that writes to Weights & Biases: one run per trial, on the driver, whatever becomes of the trial.

Nothing that goes wrong here reaches a trial: the first failure is said once, the rest are counted.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from analysis.columns import SCHEMA_VERSION, State
from ipix_tune.config import StudyConfig, Value
from trainers.environment import git_commit, package_versions

logger = logging.getLogger(__name__)

FLUSH_S = 0.2
"""Seconds after which a logged epoch is on disk."""


class Tracker:
    """W&B runs of one study.

    Args:
        folder: the study's folder; offline files go below `wandb/` in it.
        study: the study file.
        facts: what is the same for all runs (space, scheduler, classes, origin), as `analysis.columns` lists it.
    """

    def __init__(self, folder: Path, study: StudyConfig, facts: dict[str, Any]) -> None:
        self.mode = os.environ.get("WANDB_MODE") or study.logging.mode
        os.environ.pop("WANDB_SERVICE", None)  # another program's W&B process may hold runs of the same ids
        self.failures = 0
        self._folder = folder
        self._study = study
        self._facts = facts
        self._runs: dict[str, Any] = {}
        self._seen: dict[str, set[int]] = {}

    def start(self, key: str, *, values: dict[str, Value], trainer: dict[str, Any]) -> None:
        """Open the trial's run; a run of the same key is continued."""
        if self.mode == "disabled" or key in self._runs:
            return
        config = {
            "schema_version": SCHEMA_VERSION,
            "study": self._study.name,
            "trial": {"key": key, "number": int(key.lstrip("t"))},
            "search": values,
            "trainer": trainer,
            "objective": self._study.objective.model_dump(),
            **self._facts,
        }
        self._guarded(lambda: self._open(key, config))

    def _open(self, key: str, config: dict[str, Any]) -> None:
        import wandb

        run_id = f"{self._study.name}-{key}"
        self._runs[key] = wandb.init(
            project=self._study.logging.project,
            entity=self._study.logging.entity,
            id=run_id,
            name=run_id,
            group=self._study.name,
            job_type="search",
            dir=str(self._folder),
            mode=self.mode,  # type: ignore[arg-type]
            config=config,
            resume="allow" if self.mode == "online" else None,
            reinit="create_new",
            settings=wandb.Settings(
                x_transaction_log_flush_interval=FLUSH_S,
                console="off",
                silent=True,
                x_disable_stats=True,
                x_disable_meta=True,
                disable_git=True,
                disable_code=True,
            ),
        )
        self._seen[key] = set()

    def log(self, key: str, *, epoch: int, metrics: dict[str, float]) -> None:
        """One epoch's row; an epoch that was logged already is left as it is."""
        run = self._runs.get(key)
        if run is None or epoch in self._seen[key]:
            return
        self._seen[key].add(epoch)
        self._guarded(lambda: run.log({"epoch": epoch, **metrics}, step=epoch, commit=True))

    def finish(
        self,
        key: str,
        *,
        state: State,
        error: str | None = None,
        retries: int = 0,
        objective: float | None = None,
        epochs: int = 0,
    ) -> None:
        """Close the trial's run with how it ended."""
        run = self._runs.pop(key, None)
        if run is None:
            return
        summary = {"state": state, "error": error, "retries": retries, "epochs": epochs, "objective": objective}

        def close() -> None:
            run.summary.update(summary)
            run.finish(exit_code=1 if state == "failed" else 0)

        self._guarded(close)

    def close(self) -> None:
        """Close what is still open as interrupted, and wait until all files are whole: a run's end may reach the disk
        after `finish` has returned, and the report is made from the files."""
        for key in list(self._runs):
            self.finish(key, state="interrupted", epochs=max(self._seen[key], default=0))
        if self._seen:
            self._guarded(_teardown)

    def _guarded(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:
            self.failures += 1
            if self.failures == 1:
                logger.warning("W&B failed, the study goes on without it where it fails: %s", error)


def _teardown() -> None:
    import wandb

    wandb.teardown()


def origin_facts(*, world_size: int, host: str, split_hash: str) -> dict[str, Any]:
    """`origin` of `analysis.columns`."""
    return {
        "split_hash": split_hash,
        "git_commit": git_commit(),
        "versions": package_versions(),
        "world_size": world_size,
        "host": host,
    }
