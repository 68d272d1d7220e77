"""Several workers per trial: Ray Train starts them once for a trial's actor, and they stay for its next trials.

Starting a group of workers costs a chain of process starts and imports, some 20 s on two cores. Tune gives a trial's
actor one trial after the other, and the actor gives them to its group, so that only the first one waits. A trial that
ended, or that the scheduler stopped, leaves the group as it was. Whatever a worker raises ends the group, and the next
trial gets a new one.
"""

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ipix_tune.execution.mailbox import EpochRow, Mailbox, MailboxPeers
from ipix_tune.storage.object_sync import own_folder
from ipix_tune.trainer.peers import Peers
from trainers.common.errors import TrainingError, UserError

LOOK_S = 0.5
"""How often a trial that waits for its workers sees whether they are still there."""

Work = Callable[[dict[str, Any], Callable[[EpochRow], bool], Peers], None]
"""What a worker does for a trial: called with the trial's config, with a function that sends a row to the trial and
says whether to go on, and with the other workers."""


class WorkerGroup:
    """The workers of this process, which is a trial's actor.

    Args:
        work: what every worker does for a trial; must pickle.
        resources: the study's `resources` section.
        joined: the workers are joined in one process group of PyTorch.
    """

    def __init__(self, work: Work, resources: dict[str, Any], *, joined: bool) -> None:
        import ray

        self._mailbox: Any = ray.remote(num_cpus=0)(Mailbox).remote()
        self._trial = 0
        self._failure: BaseException = RuntimeError("the trial's workers ended")
        self._thread = threading.Thread(target=self._run, args=(work, resources, joined), daemon=True)
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

    def _run(self, work: Work, resources: dict[str, Any], joined: bool) -> None:
        try:
            with own_folder() as folder:
                given = {"mailbox": self._mailbox, "work": work}
                train_over(_serve, given, resources=resources, folder=folder, name="workers", joined=joined)
        except BaseException as error:
            self._failure = error


_group: WorkerGroup | None = None


def worker_group(work: Work, resources: dict[str, Any], *, joined: bool) -> WorkerGroup:
    """This process's group of workers, started where there is none any more."""
    global _group
    if _group is None or not _group.is_there:
        _group = WorkerGroup(work, resources, joined=joined)
    return _group


def _serve(config: dict[str, Any]) -> None:
    """On every worker: one trial after the other."""
    import ray
    from ray import train

    context = train.get_context()
    mailbox, rank, count = config["mailbox"], context.get_world_rank(), context.get_world_size()
    for trial in itertools.count(1):
        numbers = itertools.count(1)

        def send(row: EpochRow | None, trial: int = trial, numbers: Any = numbers) -> bool:
            return ray.get(mailbox.send.remote(trial, next(numbers), row)) if rank == 0 else True

        given, peers = ray.get(mailbox.take.remote(trial)), MailboxPeers(mailbox, trial, rank=rank, count=count)
        config["work"](given, send, peers)
        peers.leave()
        send(None)


def train_over(
    work: Callable[[dict[str, Any]], None],
    config: dict[str, Any],
    *,
    resources: dict[str, Any],
    folder: Path,
    name: str,
    joined: bool = True,
) -> None:
    """Run Ray Train to its end: ``work(config)`` on every worker.

    Args:
        resources: the `resources` section.
        folder: where Ray Train keeps notes of its own.
        name: of its run.
        joined: in one process group of PyTorch.

    Raises:
        UserError, TrainingError: as a worker raised it.
        RuntimeError: a worker died or raised something else; the last line says what.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    gpus = resources["gpus_per_worker"]
    trainer = (TorchTrainer if joined else DataParallelTrainer)(
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
