"""Where study and trainer meet: a trial in Ray Tune's actor, or spread over Ray Train's workers; and final training.

A trial's folder has a stable place in the study's folder, so that a retry, on whatever node, and a resumed study find
its last checkpoint by the key alone.
"""

import math
from pathlib import Path
from typing import Any

from ipix_tune.config import ResourcesConfig
from ipix_tune.scheduler import EPOCH, SCORE
from ipix_tune.searcher import FAILED

METRICS, SPLIT = "metrics", "split_hash"
MISSING_METRIC = "{metric} is not among the metrics of epoch {epoch}: {names}"


def trial_config(key: str, *, trainer: dict[str, Any], run_dir: Path, metric: str, resources: ResourcesConfig) -> Any:
    """All that a trial is given; plain data, so that it can be sent to any node."""
    return {
        "key": key,
        "trainer": trainer,
        "run_dir": str(run_dir),
        "metric": metric,
        "resources": resources.model_dump(),
    }


def in_actor(config: dict[str, Any]) -> None:
    """One worker: the training runs in the trial's own actor."""
    from ray import tune

    _train(config, tune.report)


def over_workers(config: dict[str, Any]) -> None:
    """Several workers: this actor only drives; Ray Train starts the workers and joins them in one process group."""
    from ray.train import RunConfig
    from ray.tune.integration.ray_train import TuneReportCallback

    folder = Path(config["run_dir"])
    callbacks: list[Any] = [TuneReportCallback()]  # type: ignore[no-untyped-call]
    run = RunConfig(name=f"{config['key']}-train", storage_path=str(folder / "ray"), callbacks=callbacks)
    _trainer(_report_from_worker, config, run=run).fit()


def _report_from_worker(config: dict[str, Any]) -> None:
    from ray import train

    _train(config, train.report)


def _train(config: dict[str, Any], send: Any) -> None:
    """Fit, sending every epoch. A mistake that a retry would only repeat is sent as the trial's last word."""
    from trainers.config import TrainConfig
    from trainers.errors import TrainingError, UserError
    from trainers.fit import fit
    from trainers.report import EpochRecord, Verdict

    def report(record: EpochRecord) -> Verdict:
        metric = config["metric"]
        score = {SCORE: record.metrics[metric]} if metric in record.metrics else {}
        send({EPOCH: record.epoch, SPLIT: record.split_hash, METRICS: record.metrics, **score})
        return Verdict.CONTINUE

    _limit_threads(config["resources"]["cpus_per_worker"])
    try:
        fit(TrainConfig.model_validate(config["trainer"]), Path(config["run_dir"]), callbacks=[report])
    except (UserError, TrainingError) as error:
        send({FAILED: str(error)})


def _limit_threads(cpus: float) -> None:
    import torch

    torch.set_num_threads(max(1, math.floor(cpus)))


def _trainer(loop: Any, config: dict[str, Any], *, run: Any) -> Any:
    from ray.train import FailureConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    resources = config["resources"]
    gpus = resources["gpus_per_worker"]
    per_worker = {"CPU": resources["cpus_per_worker"], **({"GPU": gpus} if gpus else {})}
    run.failure_config = FailureConfig(max_failures=0)
    return TorchTrainer(
        loop,
        train_loop_config=config,
        scaling_config=ScalingConfig(
            num_workers=resources["workers"], use_gpu=gpus > 0, resources_per_worker=per_worker
        ),
        run_config=run,
    )


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
        ResourceError: the cluster cannot hold the workers.
        UserError, TrainingError: as `trainers.fit.fit`.
    """
    from ray.train import RunConfig

    from ipix_tune.cluster import connected, inventory
    from ipix_tune.plan import fit_resources

    resources = ResourcesConfig(workers=workers, cpus_per_worker=cpus_per_worker, gpus_per_worker=gpus_per_worker)
    with connected(address, nested=True):
        cluster, nodes = inventory()
        fit_resources(resources, cluster=cluster, nodes=nodes)
        data = trial_config(
            "final",
            trainer=config.model_dump(mode="json"),
            run_dir=run_dir,
            metric="val/miou",
            resources=resources,
        )
        _trainer(_report_from_worker, data, run=RunConfig(name="final", storage_path=str(run_dir / "ray"))).fit()
