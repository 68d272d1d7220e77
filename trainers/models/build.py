"""A model from its config: seeded initialisation, then pretrained weights where asked."""

from collections.abc import Callable

import torch

from trainers.common.errors import ConfigError
from trainers.interface.input_spec import InputSpec
from trainers.models.backbones import build_backbone, with_bands
from trainers.models.deeplabv3plus import DeepLabV3Plus
from trainers.models.earlier_run import start_from, tensors_of_run
from trainers.models.interface import SegmentationModel
from trainers.models.libraries import normalisation
from trainers.models.model_config import ModelConfig
from trainers.models.weights import load_weights

RATES = {16: (6, 12, 18), 8: (12, 24, 36)}


def build_model(config: ModelConfig, *, num_classes: int, seed: int, whole: bool = True) -> SegmentationModel:
    """The network on the CPU. The same config and seed give the same weights; global random state is left alone.

    Args:
        whole: where `model.weights` is a checkpoint of an earlier run, take all of it; False: its encoder alone, for a
            second network, which is to differ from the first.

    Raises:
        ConfigError, CheckpointError: the weights that the config asks for cannot be had or do not fit.
    """
    earlier = tensors_of_run(config.weights)
    asked = config if earlier is None else config.model_copy(update={"weights": "none"})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BUILDERS[config.name](asked, num_classes)
    if earlier is not None:
        model.started_from = start_from(model, earlier, source=config.weights, num_classes=num_classes, whole=whole)
    if config.freeze:
        model.freeze()
    return model


def _deeplabv3plus(config: ModelConfig, num_classes: int) -> SegmentationModel:
    backbone = build_backbone(config.backbone, output_stride=config.output_stride, stem=config.stem)
    if config.in_channels != 3:
        with_bands(backbone, config.in_channels)
    model = DeepLabV3Plus(
        backbone, num_classes=num_classes, rates=RATES[config.output_stride], upsample=config.upsample
    )
    load_weights(backbone, config)
    mean, std, _ = normalisation(config)
    model.input_spec = InputSpec(mean=mean, std=std)
    return model


def _smp(config: ModelConfig, num_classes: int) -> SegmentationModel:
    from trainers.models.smp_build import build_smp

    return build_smp(config, num_classes)


def _dinov2_dpt(config: ModelConfig, num_classes: int) -> SegmentationModel:
    try:
        from trainers.models.dinov2 import SHAPES
        from trainers.models.dpt import Dpt
    except ImportError as error:
        raise ConfigError(f"model.name = dinov2_dpt needs timm ({error}): pip install 'ipix-tune[models]'") from error
    from trainers.models.dinov2_weights import load_dinov2

    mean, std, _ = normalisation(config)
    spec = InputSpec(mean=mean, std=std, multiple=14)
    model = Dpt(
        SHAPES[config.size],
        num_classes=num_classes,
        input_spec=spec,
        drop_path=config.drop_path,
        checkpointing=config.checkpointing,
    )
    load_dinov2(model.backbone, size=config.size, weights=config.weights)
    return model


BUILDERS: dict[str, Callable[[ModelConfig, int], SegmentationModel]] = {
    "deeplabv3plus": _deeplabv3plus,
    "smp": _smp,
    "dinov2_dpt": _dinov2_dpt,
}
"""By `model.name`: from the config and the number of classes, the weights drawn from torch's global generator."""
