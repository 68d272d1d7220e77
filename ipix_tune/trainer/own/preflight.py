"""The data, the model and the loader of a training, tried before it starts."""

from typing import Literal, cast

from trainers.config import TrainConfig


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
    from trainers.loop.labelled_loss import make_labelled_loss, weight_lines
    from trainers.loop.lr_schedule import warmup_lines
    from trainers.loop.method_context import make_context
    from trainers.loop.network_check import check_input, network_lines
    from trainers.loop.precision import precision_lines_here
    from trainers.loop.process_group import current
    from trainers.loop.stages import stage_epochs
    from trainers.loop.tensorboard_log import check_tensorboard
    from trainers.methods.registry import build_method
    from trainers.models.interface import SegmentationModel

    check_tensorboard(config.logging)
    final = config.evaluation.final
    data = open_data(config.data, final=final, with_val=config.data.val is not None)
    summary = check_data(data, config.data)
    context = make_context(
        config,
        num_classes=data.num_classes,
        process=current("cpu"),
        labelled=len(data.labelled),
        unlabelled=len(data.unlabelled),
    )
    student = cast(SegmentationModel, context.student)
    check_input(config, student.input_spec, world=workers)
    method = build_method(config.method, context)
    stages = method.stages()
    lengths = [len(epochs) for epochs in stage_epochs(stages, config.schedule.epochs)]
    steps = [TrainLoader(data, config, stage.needs, rank=0, world=workers).steps_per_epoch for stage in stages]
    each = f"{steps[0]} steps an epoch"
    if len(set(steps)) > 1:
        each = ", then ".join(f"{epochs} epochs of {one} steps" for epochs, one in zip(lengths, steps, strict=True))
    first, *others = data_lines(config.data, data, summary)
    lines = [first, *network_lines(config, student), f"{each}, {config.data.batch_size} labelled images each", *others]
    device: Literal["cpu", "cuda"] = "cpu" if config.precision.device == "cpu" else "cuda"
    make_labelled_loss(config, data, current("cpu"))
    lines += weight_lines(config, data)
    if started := getattr(context.student, "started_from", ""):
        lines.append(started)
    lines += loading(config, data, stages[-1].needs, device=device, world=workers).lines
    lines += precision_lines_here(config.precision)
    for epochs, one in zip(lengths, steps, strict=True):
        lines += warmup_lines(config.schedule, steps_per_epoch=one, total=epochs * one)
    return lines, sum(epochs * one for epochs, one in zip(lengths, steps, strict=True)) / config.schedule.epochs
