"""`--dry-run`: everything short of a trial. Opens the data, builds the model, fits the cluster, prints the plan."""

from collections.abc import Mapping, Sequence
from typing import Literal

from rich.console import RenderableType

from ipix_tune.config import StudyConfig
from ipix_tune.cost import measure
from ipix_tune.deaddimensions import check_dead_dimensions
from ipix_tune.devices import few_images, granted, idle_gpus
from ipix_tune.earlier_noise import describe_rung_noise
from ipix_tune.memoryplan import gpu_bytes_here, plan_memory
from ipix_tune.plan import make_plan, render
from ipix_tune.space import SearchSpace
from ipix_tune.warm import describe_warm_start
from trainers.config import TrainConfig


def dry_run(
    study: StudyConfig,
    *,
    cluster: Mapping[str, float] | None,
    nodes: Sequence[Mapping[str, float]] = (),
    measured: bool = False,
) -> RenderableType:
    """The plan, ready to print.

    Args:
        cluster, nodes: as for `plan.fit_resources`; None where no cluster was asked.
        measured: also time a few steps of the first point and of a drawn configuration.

    Raises:
        UserError: the study cannot run: data, weights, batch, resources, earlier studies.
    """
    plan = make_plan(study, cluster=cluster, nodes=nodes)
    space = SearchSpace(study)
    configs = [granted(space.to_config(values), study.resources) for values in (*study.points[:1], plan.sample)]
    data, steps = check_run(configs[0], workers=study.resources.workers)
    threads = max(1, int(study.resources.cpus_per_worker))
    cost = measure(configs, steps_per_epoch=steps, threads=threads) if measured else None
    warnings = check_dead_dimensions(space)
    asked = space.to_config(plan.sample).precision.device
    if (idle := idle_gpus(asked, study.resources, cluster or {})) is not None:
        warnings = [*warnings, idle]
    warm = [*describe_warm_start(study, space), *describe_rung_noise(study, max_epochs=plan.max_epochs)]
    if (few := few_images(configs[0], study.resources)) is not None:
        warnings = [*warnings, few]
    memory, too_much = plan_memory(configs[0], study.resources, steps_per_epoch=steps, gpu_bytes=gpu_bytes_here())
    if too_much is not None:
        warnings = [*warnings, too_much]
    return render(plan, data=data, warm=warm, memory=memory, cost=cost, warnings=warnings)


def check_run(config: TrainConfig, *, workers: int) -> tuple[list[str], float]:
    """Open and decode the data, with the validation list where there is one, so that no fault in it shows after the
    search; build model, method and loader as a trial will; lines that describe the data, and
    steps per epoch, their mean where the stages of a method differ.

    Raises:
        UserError: whatever would stop the trial at its start.
    """
    from trainers.data.check import check_data
    from trainers.data.describe import data_lines
    from trainers.data.loader import TrainLoader
    from trainers.data.loading import loading
    from trainers.data.open import open_data
    from trainers.distributed import current
    from trainers.kit import make_kit
    from trainers.methods.registry import build_method
    from trainers.stages import stage_epochs

    final = config.evaluation.final
    data = open_data(config.data, final=final, with_val=config.data.val is not None)
    summary = check_data(data, config.data)
    kit = make_kit(
        config,
        num_classes=data.num_classes,
        process=current("cpu"),
        labelled=len(data.labelled),
        unlabelled=len(data.unlabelled),
    )
    method = build_method(config.method, kit)
    stages = method.stages()
    lengths = [len(epochs) for epochs in stage_epochs(stages, config.schedule.epochs)]
    steps = [TrainLoader(data, config, stage.needs, rank=0, world=workers).steps_per_epoch for stage in stages]
    each = f"{steps[0]} steps an epoch"
    if len(set(steps)) > 1:
        each = ", then ".join(f"{epochs} epochs of {one} steps" for epochs, one in zip(lengths, steps, strict=True))
    first, *others = data_lines(config.data, data, summary)
    lines = [first, f"{each}, {config.data.batch_size} labelled images each", *others]
    device: Literal["cpu", "cuda"] = "cpu" if config.precision.device == "cpu" else "cuda"
    lines += loading(config, data, stages[-1].needs, device=device, world=workers).lines
    return lines, sum(epochs * one for epochs, one in zip(lengths, steps, strict=True)) / config.schedule.epochs
