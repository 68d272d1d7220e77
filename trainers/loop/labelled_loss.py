"""The loss of labelled pixels for a run: class weights counted or checked against the data."""

import importlib.util

import torch
from torch import Tensor

from trainers.common.errors import ConfigError
from trainers.config import TrainConfig
from trainers.data.class_pixels import class_pixels
from trainers.data.open import OpenData
from trainers.interface.method import alone
from trainers.loop.process_group import Process
from trainers.losses.labelled import LabelledLoss, frequency_weights
from trainers.losses.labelled_config import LOVASZ

SHOWN = 24
"""Classes whose weights are named in a line; of more, the ends."""


def make_labelled_loss(config: TrainConfig, data: OpenData, process: Process) -> LabelledLoss:
    """As the section `loss` has it, over all processes or this one, as `optim.denominator` says.

    Raises:
        ConfigError: the class weights are not as many as the classes, or Lovász is asked for without its package.
        DataError: a labelled mask cannot be read.
    """
    if config.loss.labelled in LOVASZ and importlib.util.find_spec("segmentation_models_pytorch") is None:
        raise ConfigError(
            f"loss.labelled = {config.loss.labelled} needs the package segmentation-models-pytorch, which is not "
            "installed; install ipix-tune[models], or take another loss"
        )
    weights = class_weights(config, data)
    return LabelledLoss(
        config.loss,
        weights=None if weights is None else weights.to(process.device),
        total=process.total if config.optim.denominator == "global" else alone,
    )


def class_weights(config: TrainConfig, data: OpenData) -> Tensor | None:
    """(C,) float32; None where all classes count alike.

    Raises:
        ConfigError, DataError: as :func:`make_labelled_loss`.
    """
    given = config.loss.class_weights
    if given == "none":
        return None
    if given == "frequency":
        skip = config.data.on_corrupt == "skip"
        pixels = class_pixels(data.labelled, num_classes=data.num_classes, skip_corrupt=skip)
        return frequency_weights(pixels, power=config.loss.frequency_power)
    if len(given) != data.num_classes:
        raise ConfigError(
            f"loss.class_weights: {len(given)} numbers for {data.num_classes} classes ({', '.join(data.classes[:3])}, "
            "...); give one for each class, in their order, or `frequency`"
        )
    return torch.tensor(given)


def weight_lines(config: TrainConfig, data: OpenData) -> list[str]:
    """The class weights in words for people, where they were counted; none where they were given or there are none.

    Raises:
        ConfigError, DataError: as :func:`make_labelled_loss`.
    """
    weights = class_weights(config, data)
    if weights is None or config.loss.class_weights != "frequency":
        return []
    named = [f"{name} {weight:.3g}" for name, weight in zip(data.classes, weights.tolist(), strict=True)]
    if len(named) > SHOWN:
        ordered = [named[index] for index in weights.argsort().tolist()]
        named = [*ordered[: SHOWN // 2], "...", *ordered[-SHOWN // 2 :]]
    power = config.loss.frequency_power
    return [
        f"class weights by frequency in {len(data.labelled)} labelled masks (power {power:g}, mean over pixels 1): "
        f"{', '.join(named)}"
    ]
