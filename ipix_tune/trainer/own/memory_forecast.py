"""What the plan says about a trial's memory: an estimate, and whether this machine's GPU has as much."""

from concurrent.futures.process import BrokenProcessPool

from ipix_tune.trainer.own.device_grant import share_of_memory
from ipix_tune.trainer.resources import ResourcesConfig
from trainers.config import TrainConfig

GIB = 1024**3


def plan_memory(
    config: TrainConfig, resources: ResourcesConfig, *, steps_per_epoch: float, gpu_bytes: int | None
) -> tuple[list[str], str | None]:
    """Lines about the memory that one worker of a trial takes, and a warning where a GPU has less.

    Args:
        config: one of the study's, its device as granted (`devices.granted`); its data is there.
        gpu_bytes: of a GPU that trials run on; None: not known.
    """
    from trainers.data.open import open_data
    from trainers.loop.memory_estimate import CPU_BYTES, GPU_BYTES, Asking, step_memory

    data = open_data(config.data, final=config.evaluation.final)
    try:
        [found] = step_memory(
            [
                Asking(
                    config=config,
                    num_classes=data.num_classes,
                    labelled=len(data.labelled),
                    unlabelled=len(data.unlabelled),
                    world=resources.workers,
                    steps_per_epoch=max(1, round(steps_per_epoch)),
                )
            ]
        )
    except BrokenProcessPool:
        return [
            "not estimated: the process for it died; a script that plans a study begins its work below "
            'if __name__ == "__main__":'
        ], None
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        return [f"not estimated: what a step of {config.method.name} takes depends on values ({reason})"], None
    device = "cpu" if config.precision.device == "cpu" else "cuda"
    total, kept = found.on(device), found.weights + found.optimiser + found.buckets
    allowance = CPU_BYTES if device == "cpu" else GPU_BYTES
    of = "a worker" if device == "cpu" else "a worker's GPU"
    lines = [
        f"about {_gib(total)} GiB of {of} (estimated): {_gib(total - kept - allowance)} for batch, activations and "
        f"gradients, {_gib(kept)} for weights and optimiser, {_gib(allowance)} allowed for "
        + ("Python and PyTorch" if device == "cpu" else "CUDA and its libraries")
    ]
    if device == "cpu" or gpu_bytes is None:
        return lines, None
    share = share_of_memory(resources.gpus_per_worker, total=gpu_bytes)
    room = gpu_bytes * (resources.gpus_per_worker if share is not None else 1.0)
    if total <= room:
        return lines, None
    return lines, (
        f"a worker is estimated to take {_gib(total)} GiB, and its part of this machine's GPU has {_gib(room)}: lower "
        "data.batch_size or data.crop, raise optim.accumulate, set precision.amp: bf16 (fp16 on an older GPU), or take "
        "more of a GPU"
    )


def measured_memory(config: TrainConfig, resources: ResourcesConfig, *, steps_per_epoch: float) -> list[str]:
    """Lines about what one worker of a trial was measured to take, and the largest batch that fits; on a machine
    without a GPU, for trials that run on one, what is estimated."""
    from trainers.data.open import open_data
    from trainers.loop.memory_plan import memory_lines, this_place

    gpus = resources.gpus_per_worker
    return memory_lines(
        config,
        open_data(config.data, final=config.evaluation.final),
        place=this_place(config, share=gpus if 0 < gpus < 1 else 1.0),
        world=resources.workers,
        steps_per_epoch=max(1, round(steps_per_epoch)),
    )


def gpu_bytes_here() -> int | None:
    """Memory of this machine's first GPU; None without one."""
    import torch

    if not torch.cuda.is_available():
        return None
    return int(torch.cuda.get_device_properties(0).total_memory)


def _gib(size: float) -> str:
    return f"{size / GIB:.1f}" if size < 10 * GIB else f"{size / GIB:.0f}"
