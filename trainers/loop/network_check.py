"""Whether a network can be trained and scored as the config asks; refused before the first step, with the reason."""

from trainers.common.errors import ConfigError
from trainers.config import TrainConfig
from trainers.interface.input_spec import InputSpec
from trainers.models.build import build_model
from trainers.models.interface import SegmentationModel
from trainers.models.layers import by_layer
from trainers.models.libraries import normalisation

POOLING = ("deeplabv3", "deeplabv3plus", "pan", "upernet")
"""smp's decoders that pool an image to one value a channel, of which a single image has no batch statistics."""


def check_network(config: TrainConfig, *, world: int = 1) -> None:
    """Build the network with random weights, and check its input.

    Args:
        world: processes of the training.

    Raises:
        ConfigError: its parts do not go together, or it does not take the crops.
    """
    if config.model.name == "deeplabv3plus":
        return  # takes whatever there is
    model = build_model(config.model.model_copy(update={"weights": "none"}), num_classes=2, seed=0)
    check_input(config, model.input_spec, world=world)
    by_layer(model.backbone, config.optim.layer_decay)


def check_input(config: TrainConfig, spec: InputSpec, *, world: int) -> None:
    """Whether crops, evaluation and batch are what the network takes.

    Raises:
        ConfigError: with the nearest crops that are.
    """
    crop, multiple = config.data.crop, spec.multiple
    if spec.fixed and crop != multiple:
        raise ConfigError(
            f"data.crop = {crop}: {_named(config)} takes images of {multiple} x {multiple} pixels alone; set "
            f"data.crop: {multiple}, or model.options: {{img_size: {crop}}} where it is a multiple of its patch"
        )
    if spec.fixed and config.evaluation.mode == "whole":
        raise ConfigError(
            f"evaluation.mode = whole: {_named(config)} takes images of {multiple} x {multiple} pixels alone; set "
            "evaluation.mode: sliding"
        )
    if crop % multiple or crop < spec.smallest:
        lower, upper = crop // multiple * multiple, -(-max(crop, spec.smallest) // multiple) * multiple
        near = f"{lower} or {upper}" if lower >= max(spec.smallest, multiple) and lower != upper else str(upper)
        raise ConfigError(
            f"data.crop = {crop}: {_named(config)} takes crops whose side is a multiple of {multiple}"
            + (f" and at least {spec.smallest}" if spec.smallest > 1 else "")
            + f"; set data.crop to {near}"
        )
    images = config.data.batch_size // world // config.optim.accumulate
    alone = world == 1 or config.optim.batch_norm == "device"
    if config.model.name == "smp" and config.model.architecture in POOLING and images < 2 and alone:
        raise ConfigError(
            f"data.batch_size = {config.data.batch_size}: {_named(config)} pools each image to one value, of which a "
            "single image has no batch statistics; a process needs 2 or more images at a time (data.batch_size / "
            "processes / optim.accumulate), or optim.batch_norm: global with several processes"
        )


def network_lines(config: TrainConfig, network: SegmentationModel) -> list[str]:
    """What the network is and how its images are normalised, in words, where the config leaves it to the encoder."""
    model, spec = config.model, network.input_spec
    if model.name == "deeplabv3plus" and model.mean is None and model.in_channels == 3:
        return []
    total = sum(one.numel() for one in network.parameters())
    held = sum(one.numel() for one in network.parameters() if not one.requires_grad)
    mean, deviation = (" ".join(f"{value:.4g}" for value in values) for values in (spec.mean, spec.std))
    return [
        f"network: {_named(config)}, {total / 1e6:.1f} million parameters"
        + (f", {held / 1e6:.1f} of them held" if held else "")
        + (f"; images in multiples of {spec.multiple} pixels" if spec.multiple > 1 else ""),
        f"images are normalised by mean {mean}, deviation {deviation} ({normalisation(model)[2]})",
    ]


def _named(config: TrainConfig) -> str:
    model = config.model
    return f"{model.architecture} on {model.encoder}" if model.name == "smp" else f"model.name = {model.name}"
