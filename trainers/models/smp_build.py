"""A network of segmentation_models.pytorch from its config; what cannot be built is refused with the reason."""

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from trainers.common.errors import ConfigError
from trainers.interface.input_spec import InputSpec
from trainers.models.interface import SegmentationModel
from trainers.models.libraries import check_encoder, libraries, normalisation, timm_name
from trainers.models.model_config import ModelConfig
from trainers.models.smp_model import SmpModel
from trainers.models.smp_weights import with_weights

OURS = ("encoder_weights", "in_channels", "classes", "activation", "aux_params", "encoder_name", "drop_path_rate")
"""Arguments of smp's that have keys of their own, or no use here."""
FLEXIBLE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})
"""By which timm's transformers take images of other sizes than they were trained on; each knows one or none."""
PROBED = 128
"""Side of the images by which a network is looked at; PAN takes none that are smaller."""
DROPOUTS = (nn.Dropout, nn.Dropout2d)


def build_smp(config: ModelConfig, num_classes: int) -> SegmentationModel:
    """The network, its weights drawn from torch's global generator, and of the encoder as `model.weights` says.

    Raises:
        ConfigError: these parts do not go together, or there are no such weights.
        CheckpointError: the weights are of another encoder.
    """
    check_encoder(config)
    _check_options(config)
    with _refused(config):
        whole: Any = with_weights(config, functools.partial(_made, config, num_classes))
        _set_dropout(config, nn.ModuleList([whole.decoder, whole.segmentation_head]))
        _set_drop_path(config, whole.encoder)
        if config.checkpointing:
            _set_checkpointing(config, whole.encoder)
        mean, std, _ = normalisation(config)
        side = _side(config, whole.encoder)
        multiple = _multiple(config, whole, side)
        stride, unused = _looked_at(config, side)
        spec = InputSpec(
            mean=mean,
            std=std,
            multiple=multiple or side,
            smallest=PROBED if config.architecture == "pan" else 1,
            fixed=multiple is None,
        )
    for name, parameter in whole.named_parameters():
        if name in unused:
            parameter.requires_grad_(False)
    anew = functools.partial(build_smp, config.model_copy(update={"weights": "none"}), num_classes)
    return SmpModel(whole, tokens=config.architecture == "dpt", spec=spec, decoder_stride=stride, anew=anew)


def _made(config: ModelConfig, num_classes: int, **given: Any) -> nn.Module:
    """smp's model, its encoder free to take images of any size where timm has an argument for that."""
    smp, _ = libraries()
    arguments: dict[str, Any] = {"in_channels": config.in_channels, "classes": num_classes, **config.options, **given}
    drop_path = {"drop_path_rate": config.drop_path} if config.drop_path and timm_name(config) else {}
    freedoms = FLEXIBLE if timm_name(config) else ({},)
    state = torch.get_rng_state()
    for freedom in freedoms:
        try:
            torch.set_rng_state(state)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made: nn.Module = smp.create_model(
                    config.architecture, config.encoder, **(freedom | drop_path | arguments)
                )
            return made
        except TypeError as error:
            if "unexpected keyword" not in str(error) or not any(name in str(error) for name in freedom):
                raise
    raise AssertionError("the last one asks for nothing")


def _check_options(config: ModelConfig) -> None:
    for name in config.options:
        if name in OURS:
            other = {"drop_path_rate": "model.drop_path", "encoder_weights": "model.weights"}.get(name)
            raise ConfigError(
                f"model.options.{name} cannot be given"
                + (f": it is {other}" if other else ": the trainer sets it, from model and data")
            )


@contextmanager
def _refused(config: ModelConfig) -> Iterator[None]:
    """What the libraries refuse, as a user's mistake; their own errors have many classes."""
    try:
        yield
    except (
        ValueError,
        TypeError,
        KeyError,
        NotImplementedError,
        AssertionError,
        RuntimeError,
        AttributeError,
    ) as error:
        if isinstance(error, ConfigError):
            raise
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"model: {config.architecture} cannot be built on {config.encoder}: {_meant(config, reason)}"
        ) from error


def _meant(config: ModelConfig, reason: str) -> str:
    if "downsampling pattern" in reason:
        return "a plain vision transformer has one stride only; set model.architecture: dpt"
    if "Only Timm encoders" in reason:
        return "dpt is for timm's vision transformers, such as tu-vit_small_patch16_dinov3.lvd1689m"
    if "unexpected keyword" in reason:
        return f"{reason}: look at model.options, model.drop_path"
    if config.options:
        return f"{reason} (with model.options {config.options})"
    return reason


def _side(config: ModelConfig, encoder: Any) -> int:
    """Side of images that it takes for certain: what it was asked to take, else a small one."""
    asked = config.options.get("img_size")
    if asked is not None:
        return int(asked if isinstance(asked, int) else asked[0])
    multiple = int(encoder.output_stride)
    if config.architecture == "dpt" and multiple % 16:
        raise ConfigError(
            f"model: dpt cannot be built on {config.encoder}: smp's DPT takes patches of 16 pixels, this encoder has "
            f"{multiple}; set model.options: {{patch_size: 16}}, by which timm resamples the weights, or take a DINOv3 "
            "encoder, or UniMatch V2's own network for DINOv2 (docs/reference/models.md)"
        )
    patches = getattr(getattr(encoder, "model", None), "patch_embed", None)
    given = getattr(patches, "img_size", None)
    if given is not None and getattr(patches, "strict_img_size", False):
        return int(given[0])
    return max(PROBED, -(-PROBED // multiple) * multiple)


def _multiple(config: ModelConfig, whole: Any, side: int) -> int | None:
    """Of which the sides of images must be multiples; None where they must be ``side``. DPT halves the grid of a vision
    transformer's patches once more, which its library does not ask for."""
    multiple = int(whole.encoder.output_stride)
    if config.architecture != "dpt":
        return multiple
    able = [one for one in (multiple, 2 * multiple) if _takes(whole, side - side % one + one, config.in_channels)]
    return able[0] if able else None


def _takes(whole: Any, side: int, bands: int) -> bool:
    """Whether it takes square images of this side, too."""
    training = whole.training
    try:
        with torch.no_grad():
            whole.eval()(torch.zeros(1, bands, side, side))
    except (AssertionError, RuntimeError, ValueError):
        return False
    finally:
        whole.train(training)
    return True


@functools.lru_cache(maxsize=32)
def _seen(text: str, side: int) -> tuple[int, frozenset[str]]:
    config = ModelConfig.model_validate_json(text)
    whole: Any = _made(config, 2, encoder_weights=None)
    whole.train()
    images = torch.zeros(2, config.in_channels, side, side)
    neck: list[torch.Tensor] = []
    hook = whole.decoder.register_forward_hook(lambda module, given, found: neck.append(found))
    whole(images).sum().backward()
    hook.remove()
    unused = frozenset(name for name, one in whole.named_parameters() if one.requires_grad and one.grad is None)
    return side // neck[0].shape[-1], unused


def _looked_at(config: ModelConfig, side: int) -> tuple[int, frozenset[str]]:
    """The stride of the decoder's output, and the parameters that get no gradient, found by one small step of a network
    of this kind with random weights."""
    alike = config.model_dump(exclude={"weights", "mean", "std"}) | {"weights": "none"}
    if config.mean is not None:
        alike |= {"mean": (0.5,) * config.in_channels, "std": (0.5,) * config.in_channels}
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        return _seen(ModelConfig.model_validate(alike).model_dump_json(), side)


def _set_dropout(config: ModelConfig, decoder: nn.Module) -> None:
    layers = [module for module in decoder.modules() if isinstance(module, DROPOUTS)]
    if config.dropout and not layers:
        raise ConfigError(f"model.dropout: the decoder of {config.architecture} has none; set it to 0")
    for layer in layers:
        layer.p = config.dropout


def _set_drop_path(config: ModelConfig, encoder: nn.Module) -> None:
    """smp's own encoders have a fixed one, which is scaled; timm's were asked for theirs, and some have one anyway."""
    layers: list[Any] = [module for module in encoder.modules() if type(module).__name__ == "DropPath"]
    highest = max((float(layer.drop_prob or 0.0) for layer in layers), default=0.0)
    if config.drop_path and not highest:
        raise ConfigError(f"model.drop_path: encoder {config.encoder} has no stochastic depth; set it to 0")
    for layer in layers:
        layer.drop_prob = float(layer.drop_prob or 0.0) * config.drop_path / highest if highest else 0.0


def _set_checkpointing(config: ModelConfig, encoder: Any) -> None:
    timms = getattr(encoder, "model", None)
    switch = getattr(timms, "set_grad_checkpointing", None)
    if switch is None:
        raise ConfigError(
            f"model.checkpointing: encoder {config.encoder} cannot; take one of timm's (tu-...), or false"
        )
    switch(True)
