"""Stages: how the epochs are shared among the trainings that a method is made of, and what it looks at between them."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as ops

from trainers.common.errors import ConfigError
from trainers.config import TrainConfig
from trainers.data.open import OpenData
from trainers.data.opening import CorruptError
from trainers.data.read import Reader
from trainers.data.views import normalise
from trainers.interface.input_spec import RGB, InputSpec
from trainers.interface.method import Stage, UnlabelledImages
from trainers.loop.method_context import make_context
from trainers.loop.process_group import Process
from trainers.methods.registry import build_method

SOME_CLASSES = 21
"""Classes of the networks that are built only to ask a method for its stages."""
FEWEST_EPOCHS = 3
"""Fewest epochs of short trainings that are measured."""


def stage_epochs(stages: Sequence[Stage], epochs: int) -> tuple[range, ...]:
    """The epochs of each stage, counted from 0: together all of them, at least one each.

    Raises:
        ConfigError: there are fewer epochs than stages.
    """
    if epochs < len(stages):
        raise ConfigError(
            f"schedule.epochs: {epochs} is fewer than the {len(stages)} stages of this method, of which each takes one "
            f"at least; set {len(stages)} or more"
        )
    found, begin, shares = [], 0, 0.0
    for number, stage in enumerate(stages, 1):
        shares += stage.share
        end = min(max(round(shares * epochs), begin + 1), epochs - (len(stages) - number))
        found.append(range(begin, end))
        begin = end
    return tuple(found)


def stages_of(config: TrainConfig) -> tuple[Stage, ...]:
    """The stages of a config's method, as the method says them: its network is made for that, without weights."""
    untrained = config.model.model_copy(update={"weights": "none"})
    context = make_context(
        config.model_copy(update={"model": untrained}),
        num_classes=SOME_CLASSES,
        process=Process(rank=0, world=1, device=torch.device("cpu")),
        labelled=1,
        unlabelled=1,
    )
    return build_method(config.method, context).stages()


def shortest(config: TrainConfig) -> int:
    """Epochs of a short training that goes through every stage of the method, at least `FEWEST_EPOCHS`."""
    return max(FEWEST_EPOCHS, len(stages_of(config)))


def unlabelled_images(
    data: OpenData, *, reader: Reader, process: Process, skip_corrupt: bool, spec: InputSpec = RGB
) -> UnlabelledImages:
    """See `trainers.interface.method.UnlabelledImages`."""

    def images(places: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        for place in places[process.rank :: process.world]:
            try:
                image, _ = reader(data.unlabelled[place], with_mask=False)
            except CorruptError:
                if not skip_corrupt:
                    raise
                continue
            pixels = ops.to_dtype(image, torch.float32, scale=True)
            yield place, normalise(pixels, spec)[None].to(process.device)

    return images
