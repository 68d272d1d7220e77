"""Several workers per trial: Ray Train starts them once for a trial's actor, and they stay for its next trials.

Starting a group of workers costs a chain of process starts and imports, some 20 s on two cores. Tune gives a trial's
actor one trial after the other, and the actor gives them to its group, so that only the first one waits. A trial that
ended, or that the scheduler stopped, leaves the group as it was. Whatever a worker raises ends the group, and the next
trial gets a new one.
"""

import asyncio
import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ipix_tune.storage.object_sync import own_folder
from trainers.common.errors import TrainingError, UserError

LOOK_S = 0.5
"""How often a trial that waits for its workers sees whether they are still there."""

EpochRow = dict[str, Any]
Work = Callable[[dict[str, Any], Callable[[EpochRow], bool]], None]
"""What a worker does for a trial: called with the trial's config and with a function that sends a row to the trial and
says whether to go on."""


class Mailbox:
    """Where a trial leaves its config for the workers, and rank 0 its rows for the trial. A row waits until the trial
    asks for the next one, or is over. Trials are numbered from 1."""

    def __init__(self) -> None:
        self._moved = asyncio.Condition()
        self._configs: dict[int, dict[str, Any]] = {}
        self._over = 0
        self._row: tuple[int, int, EpochRow | None] = (0, 0, None)
        self._seen = (0, 0)

    async def give(self, trial: int, config: dict[str, Any]) -> None:
        """A trial's config, for every worker."""
        async with self._moved:
            self._configs = {number: one for number, one in self._configs.items() if number >= trial - 1}
            self._configs[trial] = config
            self._moved.notify_all()

    async def take(self, trial: int) -> dict[str, Any]:
        """Wait for a trial's config."""
        async with self._moved:
            await self._moved.wait_for(lambda: trial in self._configs)
            return self._configs[trial]

    async def send(self, trial: int, number: int, row: EpochRow | None) -> bool:
        """A trial's row, counted from 1; None: there are no more. Whether to go on."""
        async with self._moved:
            if trial > self._over:
                self._row = (trial, number, row)
                self._moved.notify_all()
                await self._moved.wait_for(lambda: self._seen >= (trial, number) or trial <= self._over)
            return trial > self._over

    async def next(self, trial: int, number: int) -> EpochRow | None:
        """Wait for a trial's row of this number; those before it were seen."""
        async with self._moved:
            self._seen = (trial, number - 1)
            self._moved.notify_all()
            await self._moved.wait_for(lambda: self._row[:2] == (trial, number))
            return self._row[2]

    async def end(self, trial: int) -> None:
        """A trial is over: who waits with a row of it shall stop."""
        async with self._moved:
            self._over = max(self._over, trial)
            self._moved.notify_all()


class WorkerGroup:
    """The workers of this process, which is a trial's actor.

    Args:
        work: what every worker does for a trial; must pickle.
        resources: the study's `resources` section.
    """

    def __init__(self, work: Work, resources: dict[str, Any]) -> None:
        import ray

        self._mailbox: Any = ray.remote(num_cpus=0)(Mailbox).remote()
        self._trial = 0
        self._failure: BaseException = RuntimeError("the trial's workers ended")
        self._thread = threading.Thread(target=self._run, args=(work, resources), daemon=True)
        self._thread.start()

    @property
    def is_there(self) -> bool:
        """Whether it can take a trial."""
        return self._thread.is_alive()

    def train(self, config: dict[str, Any], report: Callable[[EpochRow], None]) -> None:
        """Have a trial trained. What ``report`` raises, as Tune's does when it stops a trial, ends the trial.

        Raises:
            UserError, TrainingError: as a worker raised it.
            RuntimeError: a worker died or raised something else.
        """
        import ray

        self._trial += 1
        try:
            ray.get(self._mailbox.give.remote(self._trial, config))
            for number in itertools.count(1):
                row = self._arrived(self._mailbox.next.remote(self._trial, number))
                if row is None:
                    return
                report(row)
        finally:
            self._mailbox.end.remote(self._trial)

    def _arrived(self, answer: Any) -> EpochRow | None:
        import ray

        while not ray.wait([answer], timeout=LOOK_S)[0]:
            if not self._thread.is_alive():
                raise self._failure
        row: EpochRow | None = ray.get(answer)
        return row

    def _run(self, work: Work, resources: dict[str, Any]) -> None:
        try:
            with own_folder() as folder:
                train_over(
                    _serve, {"mailbox": self._mailbox, "work": work}, resources=resources, folder=folder, name="workers"
                )
        except BaseException as error:
            self._failure = error


_group: WorkerGroup | None = None


def worker_group(work: Work, resources: dict[str, Any]) -> WorkerGroup:
    """This process's group of workers, started where there is none any more."""
    global _group
    if _group is None or not _group.is_there:
        _group = WorkerGroup(work, resources)
    return _group


def _serve(config: dict[str, Any]) -> None:
    """On every worker: one trial after the other."""
    import ray
    from ray import train

    mailbox, first = config["mailbox"], train.get_context().get_world_rank() == 0
    for trial in itertools.count(1):
        numbers = itertools.count(1)

        def send(row: EpochRow | None, trial: int = trial, numbers: Any = numbers) -> bool:
            return ray.get(mailbox.send.remote(trial, next(numbers), row)) if first else True

        config["work"](ray.get(mailbox.take.remote(trial)), send)
        send(None)


def train_over(
    work: Callable[[dict[str, Any]], None],
    config: dict[str, Any],
    *,
    resources: dict[str, Any],
    folder: Path,
    name: str,
) -> None:
    """Run Ray Train to its end: ``work(config)`` on every worker, in one process group.

    Args:
        resources: the `resources` section.
        folder: where Ray Train keeps notes of its own.
        name: of its run.

    Raises:
        UserError, TrainingError: as a worker raised it.
        RuntimeError: a worker died or raised something else; the last line says what.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    gpus = resources["gpus_per_worker"]
    trainer = TorchTrainer(
        work,
        train_loop_config=config,
        scaling_config=ScalingConfig(
            num_workers=resources["workers"],
            use_gpu=gpus > 0,
            resources_per_worker={"CPU": resources["cpus_per_worker"], **({"GPU": gpus} if gpus else {})},
        ),
        run_config=RunConfig(name=name, storage_path=str(folder), failure_config=FailureConfig(max_failures=0)),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        causes = {
            rank: getattr(failure, "_base_exc", failure)
            for rank, failure in sorted(getattr(error, "worker_failures", {}).items())
        }
        for cause in causes.values():
            if isinstance(cause, UserError | TrainingError):
                raise cause from None
        lines = [f"worker {rank}: {type(cause).__name__}: {cause}" for rank, cause in causes.items()]
        first = lines[0].strip().splitlines() if lines else [str(error)]
        raise RuntimeError(first[0] if len(first) == 1 else f"{first[0]} ... {first[-1]}") from error
