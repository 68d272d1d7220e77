"""Where study and trainer meet: a trial in Ray Tune's actor, or spread over Ray Train's workers; and final training.

A trial's folder has a stable place in the study's folder, or in object storage, so that a retry, on whatever node, and
a resumed study find its last checkpoint by the key alone.
"""

import contextlib
import gc
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from analysis.stats.constraints import Bounds, broken, measured, said
from ipix_tune.search.repeated_error import cause_of
from ipix_tune.search.trial_message import TrialMessage
from ipix_tune.storage.away import make_in_study
from ipix_tune.storage.object_sync import ObjectCopy, scratch
from ipix_tune.trainer.choose import trainer_of
from ipix_tune.trainer.function import hand_over
from ipix_tune.trainer.interface import Epoch
from ipix_tune.trainer.own.device_grant import refused
from ipix_tune.trainer.peers import ALONE, Peers
from ipix_tune.trainer.resources import ResourcesConfig
from trainers.common.errors import (
    ConfigError,
    LoaderError,
    OutOfMemory,
    OutputError,
    TrainingError,
    UserError,
    did_you_mean,
)
from trainers.common.retry import FULL

IN_PARTS = "accumulate"
"""File in the folder of a trial that ran out of memory and is computed in more parts than its config says: their
number, for those who take the trial up."""


def trial_config(
    key: str,
    *,
    trainer: dict[str, Any],
    run_dir: Path,
    metric: str,
    resources: ResourcesConfig,
    second_metric: str | None = None,
    on_out_of_memory: str = "fail",
    store: str | None = None,
    function: Callable[..., object] | None = None,
    constraints: Bounds | None = None,
) -> Any:
    """All that a trial is given; plain data, so that it can be sent to any node. With the URI ``store``, ``run_dir`` is
    the trial's name in it. ``second_metric`` is the metric of the second objective. ``function`` was handed
    over, and cannot be imported there. A trial that breaks one of the ``constraints`` ends."""
    return {
        "key": key,
        "trainer": trainer,
        "run_dir": str(run_dir),
        "metric": metric,
        "second_metric": second_metric,
        "resources": resources.model_dump(),
        "on_out_of_memory": on_out_of_memory,
        "store": store,
        "function": function,
        "constraints": constraints or {},
    }


@contextlib.contextmanager
def _at_home(config: dict[str, Any]) -> Iterator[tuple[dict[str, Any], ObjectCopy | None]]:
    """The config with a folder of this node as ``run_dir``, and that folder's copy in object storage."""
    if config["store"] is None:
        yield config, None
        return
    with scratch(config["store"], config["run_dir"]) as copy:
        yield {**config, "run_dir": str(copy.folder), "store": None}, copy


def in_actor(config: dict[str, Any]) -> None:
    """One worker: the training runs in the trial's own actor."""
    from ray import tune

    try:
        trainer_of(config["trainer"]).limit_memory(config["trainer"], config["resources"]["gpus_per_worker"])
        with _at_home(config) as (local, copy):
            _in_memory(lambda: _train(local, tune.report, copy), local, copy)
    except Exception as error:
        if (last := _last_word(error)) is None:
            raise
    else:
        return
    gc.collect()  # the error's traceback held the trial's tensors, and is gone here
    _free_gpu()
    tune.report(last)


def over_workers(config: dict[str, Any]) -> None:
    """Several workers: this actor only drives its workers, which Ray Train started, and joined in one process group
    where the trainer wants it."""
    from ray import tune

    from ipix_tune.execution.worker_group import worker_group

    def train() -> None:
        joined = trainer_of(config["trainer"]).joined
        worker_group(_on_worker, config["resources"], joined=joined).train(config, tune.report)

    try:
        _in_memory(train, config)
    except Exception as error:
        _say(error, tune.report)


def _in_memory(train: Callable[[], None], config: dict[str, Any], copy: ObjectCopy | None = None) -> None:
    """Train; where the first steps do not fit into memory and the study allows it, once more in twice the parts. The
    second training begins when nothing refers to the error any more: its traceback holds the tensors of the first."""
    try:
        train()
    except OutOfMemory:
        if not _into_parts(config, copy):
            raise
    else:
        return
    gc.collect()
    _free_gpu()
    train()


def _into_parts(config: dict[str, Any], copy: ObjectCopy | None) -> bool:
    """Note in the trial's folder that it is computed in twice the parts; False: that is not allowed, or was done."""
    with _at_home(config) as (local, own_copy):
        copy, folder = copy or own_copy, Path(local["run_dir"])
        started = (folder / "checkpoints").exists()
        if config["on_out_of_memory"] != "accumulate" or started or (folder / IN_PARTS).exists():
            return False
        (folder / IN_PARTS).write_text(str(2 * trainer_of(config["trainer"]).parts(config["trainer"])))
        if copy is not None:
            copy.push()
    return True


def _say(error: Exception, send: Callable[[dict[str, Any]], None]) -> None:
    """Send what a retry would only repeat as the trial's last word; raise the rest, so that Tune retries."""
    if (last := _last_word(error)) is None:
        raise error
    send(last)


def _last_word(error: Exception) -> dict[str, Any] | None:
    """The row that ends a trial whose retry would fail in the same way; None where it may be retried."""
    if _is_storage(error):
        return TrialMessage(unwritable=str(error)).to_result()
    if isinstance(error, UserError | TrainingError) and not isinstance(error, LoaderError):
        return TrialMessage(failed=str(error), cause=cause_of(error)).to_result()
    return None


def _is_storage(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OutputError) or (isinstance(error, OSError) and error.errno in FULL):
            return True
        error = error.__cause__
    return False


def _on_worker(config: dict[str, Any], send: Callable[[dict[str, Any]], bool], peers: Peers) -> None:
    """A trial on one of its workers. The first thing that its study learns is which placement group holds it."""
    from ray.util import get_current_placement_group

    group = get_current_placement_group()
    go_on = send(TrialMessage(placement_group="" if group is None else group.id.hex()).to_result())
    if not peers.first_says(go_on):
        return
    trainer_of(config["trainer"]).limit_memory(config["trainer"], config["resources"]["gpus_per_worker"])
    with _at_home(config) as (local, copy):
        _train(local, send, copy if peers.rank == 0 else None, peers)


def _train(
    config: dict[str, Any],
    send: Callable[[dict[str, Any]], Any],
    copy: ObjectCopy | None = None,
    peers: Peers = ALONE,
) -> None:
    """Train, sending every epoch until ``send`` gives False. One that left a checkpoint is copied before it is sent, so
    that whoever goes on with the trial has every epoch that the study knows of."""
    metric, folder = config["metric"], Path(config["run_dir"])
    make_in_study(folder)  # by every worker: one that made it anew would hide the storage from all
    if (function := config.get("function")) is not None:
        hand_over(function)
    trainer = trainer_of(config["trainer"])
    training, parts = trainer.validated(config["trainer"], source=f"trial {config['key']}", lines={}), None
    if (folder / IN_PARTS).exists():
        parts = int((folder / IN_PARTS).read_text())
        training = trainer.in_parts(training, parts)
    last: dict[str, float] = {}
    stopped = cut = False
    bounds, seen, full = config["constraints"], set[str](), trainer.max_epochs(training)

    def report(epoch: Epoch) -> bool:
        nonlocal last, stopped, cut
        last, score = epoch.metrics, epoch.metrics.get(metric, math.nan)
        if copy is not None and epoch.saved:
            copy.push()
        cut = epoch.epoch < full  # known to every process of a trial, where rank 0 alone may have had it stopped
        values = measured(bounds, last, last=not cut)
        beyond = broken(bounds, values)
        seen.update(values)
        told = TrialMessage(
            epoch=epoch.epoch,
            score=score if math.isfinite(score) else None,
            metrics=epoch.metrics,
            split_hash=epoch.split_hash,
            accumulate=parts,
            infeasible=said(bounds, beyond) if beyond else None,
        )
        stopped = send(told.to_result()) is False or bool(beyond)
        return not stopped

    try:
        trainer.run(training, folder, report, peers)
    except (UserError, TrainingError):
        if copy is not None:  # an epoch that is trained and could not be evaluated
            with contextlib.suppress(OutputError):
                copy.push()
        raise
    finally:
        _free_gpu()
    if stopped or cut or (peers.rank > 0 and not last):
        return
    for key, name in (("objective.metric", metric), ("objective.second_objective.metric", config["second_metric"])):
        if name is not None and not math.isfinite(last.get(name, math.nan)):
            _complain(key, name, last)
    for name in bounds:
        if name not in seen:
            raise ConfigError(f"constraints: no epoch reported {name}{did_you_mean(name, list(last))}")


def _complain(key: str, metric: str, last: Mapping[str, float]) -> None:
    scores = ", ".join(name for name in last if name.startswith("val/") and not name.rpartition("/")[2].isdecimal())
    raise ConfigError(f"{key} = {metric} has no value after the last epoch; there are {scores}")


def _free_gpu() -> None:
    """Give the memory that PyTorch keeps back to the device: the actor may be reused, and may share the device."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _final_on_worker(config: dict[str, Any]) -> None:
    _train(config, lambda row: None)


def train_on_ray(
    config: Any,
    run_dir: Path,
    *,
    workers: int,
    cpus_per_worker: float,
    gpus_per_worker: float,
    address: str | None,
) -> None:
    """The final training, over Ray Train's workers; ``run_dir`` lies where all nodes see it. An interrupted one goes on
    from its checkpoint when it is started again.

    Raises:
        ConfigError: `precision.device: cuda` without GPUs for the workers.
        ResourceError: the cluster cannot hold the workers.
        UserError, TrainingError: as `trainers.loop.fit.fit`.
    """
    from ipix_tune.execution.cluster import connected, may_grow
    from ipix_tune.execution.concurrency import awaited
    from ipix_tune.execution.worker_group import train_over

    resources = ResourcesConfig(workers=workers, cpus_per_worker=cpus_per_worker, gpus_per_worker=gpus_per_worker)
    if why := refused(config.precision.device, resources):
        raise ConfigError(why)
    trainer = trainer_of(config.model_dump(mode="json"))
    with connected(address, nested=True):
        awaited(resources, may_grow=may_grow(address), say=print)
        data = trial_config(
            "final",
            trainer=trainer.granted(config, resources).model_dump(mode="json"),
            run_dir=run_dir,
            metric="val/miou",
            resources=resources,
        )
        train_over(_final_on_worker, data, resources=data["resources"], folder=run_dir / "ray", name="final")
