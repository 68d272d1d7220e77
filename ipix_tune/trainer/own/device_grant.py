"""Which device a trial trains on, and how much of a shared GPU it may take: what `resources` grants, and no more.

Ray shows every GPU of a node to a worker that asked for none. Left to itself, each such trial would take the first one.
"""

from collections.abc import Mapping

from ipix_tune.trainer.resources import ResourcesConfig
from trainers.config import TrainConfig

CONTEXT_BYTES = 600 * 1024**2
"""What CUDA itself takes of a GPU for every process that uses it, outside PyTorch's allocator: an allowance, rather
high (some 300 to 500 MiB are seen), since the processes that share a GPU must fit together."""

FEW_IMAGES = 2
"""Labelled images a GPU up to which batch norm over several GPUs is warned about."""


def granted(config: TrainConfig, resources: ResourcesConfig) -> TrainConfig:
    """The config of a trial with these resources: `precision.device: auto` without a GPU per worker is the CPU, and
    `data.loader_workers: auto` with one is as many as the worker's CPUs allow, since other trials have the others."""
    if resources.gpus_per_worker:
        if config.data.loader_workers != "auto" or config.precision.device == "cpu":
            return config
        from trainers.data.loading import auto_workers

        workers = auto_workers("cuda", cores=int(resources.cpus_per_worker))
        return config.model_copy(update={"data": config.data.model_copy(update={"loader_workers": workers})})
    if config.precision.device != "auto":
        return config
    return config.model_copy(update={"precision": config.precision.model_copy(update={"device": "cpu"})})


def refused(device: str, resources: ResourcesConfig) -> str | None:
    """Why a trial cannot have this `precision.device`; None where it can."""
    if device != "cuda" or resources.gpus_per_worker:
        return None
    return (
        "precision.device = cuda and resources.gpus_per_worker = 0: no trial is granted a GPU, and all of them would "
        "share the first one of their node; set resources.gpus_per_worker (1, or a fraction to share a GPU), or "
        "precision.device to auto or cpu"
    )


def share_of_memory(gpus_per_worker: float, *, total: int) -> float | None:
    """The share of a GPU's memory that one trial's tensors may take where several share the GPU; None: all of it.

    Args:
        gpus_per_worker: of `resources`.
        total: bytes of the GPU.
    """
    if not 0 < gpus_per_worker < 1:
        return None
    return max(gpus_per_worker - CONTEXT_BYTES / total, gpus_per_worker / 2)


def limit_memory(gpus_per_worker: float) -> None:
    """Hold this process to its share of the GPU that it was granted, so that a trial that needs more runs out of memory
    itself and not its neighbours. Nothing happens without a GPU, or with a whole one."""
    import torch

    if not 0 < gpus_per_worker < 1 or not torch.cuda.is_available():
        return
    share = share_of_memory(gpus_per_worker, total=torch.cuda.get_device_properties(0).total_memory)
    assert share is not None
    torch.cuda.set_per_process_memory_fraction(share, 0)


def describe_device(device: str, resources: ResourcesConfig) -> str:
    """The plan's line about the device of a trial."""
    gpus = resources.gpus_per_worker
    if device == "cpu" or not gpus:
        why = "" if device == "cpu" else f" (precision.device: {device}, and no GPU per worker)"
        unused = f"; {gpus:g} GPU a worker is reserved and not used" if gpus else ""
        return f"CPU{why}{unused}"
    if gpus < 1:
        return (
            f"a GPU shared by {int(1 / gpus + 1e-9)} trials: each may take {100 * gpus:.3g} % of its memory, less some "
            f"{CONTEXT_BYTES // 1024**2} MiB for CUDA itself"
        )
    return "GPU" if gpus == 1 else f"GPU; {gpus:g} are reserved for each worker, which uses one"


def idle_gpus(device: str, resources: ResourcesConfig, cluster: Mapping[str, float]) -> str | None:
    """A warning where the cluster has GPUs and no trial is granted any, though its config would take one."""
    if device != "auto" or resources.gpus_per_worker or not cluster.get("GPU"):
        return None
    return (
        f"the cluster has {cluster['GPU']:g} GPU and resources.gpus_per_worker is 0: trials train on CPUs; "
        "--set resources.gpus_per_worker=1 gives each worker one"
    )


def shares(config: TrainConfig, resources: ResourcesConfig) -> str | None:
    """What each worker of a trial has of a step, and over which images batch norm goes; None with one worker."""
    if resources.workers == 1:
        return None
    of = "each worker's own images" if config.optim.batch_norm == "device" else "the images of all workers"
    return f"{config.data.batch_size // resources.workers} labelled images a worker; batch norm over {of}"


def few_images(config: TrainConfig, resources: ResourcesConfig) -> str | None:
    """A warning where batch norm over several GPUs costs much beside the little that each computes.

    `torch.nn.SyncBatchNorm` sends its statistics in the forward and in the backward pass, and its forward pass reads
    three masks on the host.
    """
    each = config.data.batch_size // resources.workers
    alone = resources.workers == 1 or config.optim.batch_norm == "device"
    if alone or not resources.gpus_per_worker or each > FEW_IMAGES or config.precision.device == "cpu":
        return None
    return (
        f"data.batch_size = {config.data.batch_size} over resources.workers = {resources.workers} leaves {each} "
        "labelled images a GPU: every batch norm layer exchanges statistics twice a pass and waits for the host three "
        "times (a UniMatch step with ResNet-50: 248 exchanges, 372 waits), whatever the images; fewer workers with "
        "more images each are likely to be faster. optim.batch_norm: device has no exchanges, and is another training: "
        "each GPU normalises by its own images"
    )
