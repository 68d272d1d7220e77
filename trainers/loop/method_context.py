"""What the loop hands to a method at its making: networks of the run's kind, placed as the student is."""

import torch
from torch import nn

from trainers.config import TrainConfig
from trainers.data.rng_streams import Stream, generator
from trainers.interface.method import MethodContext
from trainers.loop.batch_norm import BatchNormOver, place_batch_norm
from trainers.loop.process_group import Process
from trainers.models.build import build_model
from trainers.models.frozen import share


def make_context(
    config: TrainConfig, *, num_classes: int, process: Process, labelled: int, unlabelled: int
) -> MethodContext:
    """A student, and how to make further networks.

    Args:
        labelled, unlabelled: images in these lists.

    Raises:
        ConfigError, CheckpointError: as `trainers.models.build.build_model`.
    """
    peers = iter(range(1, 1000))

    def place(module: nn.Module, over: BatchNormOver = "global") -> nn.Module:
        if config.precision.channels_last:
            module = module.to(memory_format=torch.channels_last)
        return place_batch_norm(module, process, over).to(process.device)

    def network(seed: int, *, whole: bool = True) -> nn.Module:
        model = build_model(config.model, num_classes=num_classes, seed=seed, whole=whole)
        return place(model, config.optim.batch_norm)

    student = network(config.init_seed)

    def peer() -> nn.Module:
        made = network(int(generator(config.init_seed, Stream.PEER, next(peers)).integers(2**31)), whole=False)
        share(made, student)
        return made

    return MethodContext(
        student=student,
        num_classes=num_classes,
        peer=peer,
        place=place,
        pairs=config.interpixel.alpha > 0,
        feature_pairs=config.interpixel.views == "s1s2fp",
        seed=int(generator(config.init_seed, Stream.HEADS).integers(2**31)),
        labelled=labelled,
        unlabelled=unlabelled,
        batch_size=config.data.batch_size,
        in_ddp=process.wrapped,
        total=process.total,
        gather=process.gather,
    )
