"""segmentation_models.pytorch and timm, imported where they are used and nowhere else."""

import functools
import importlib
import logging
import warnings
from types import ModuleType
from typing import Any

from trainers.common.errors import ConfigError, did_you_mean
from trainers.interface.input_spec import IMAGENET_MEAN, IMAGENET_STD
from trainers.models.model_config import ModelConfig

TIMM = "tu-"
"""How smp's names of timm's encoders begin."""


@functools.cache
def libraries() -> tuple[ModuleType, ModuleType]:
    """segmentation_models_pytorch and timm.

    Raises:
        ConfigError: they are not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            smp = importlib.import_module("segmentation_models_pytorch")
            timm = importlib.import_module("timm")
    except ImportError as error:
        raise ConfigError(
            f"model.name = smp needs segmentation-models-pytorch and timm ({error}): pip install 'ipix-tune[models]'"
        ) from error
    logging.getLogger("timm").setLevel(logging.ERROR)  # it tells on every load which classifier is left out
    return smp, timm


def timm_name(config: ModelConfig) -> str | None:
    """timm's name of the encoder, with its tag; None where it is smp's own."""
    return config.encoder.removeprefix(TIMM) if config.encoder.startswith(TIMM) else None


def check_encoder(config: ModelConfig) -> None:
    """Whether there is an encoder of that name.

    Raises:
        ConfigError: with the nearest names.
    """
    smp, timm = libraries()
    name, own = timm_name(config), list(smp.encoders.get_encoder_names())
    if name is None and config.encoder not in own:
        theirs = f"; timm has it: {TIMM}{config.encoder}" if timm.is_model(config.encoder) else ""
        raise ConfigError(
            f"model.encoder = {config.encoder}: not one of smp's own encoders"
            f"{theirs or did_you_mean(config.encoder, own)}; timm's are named with {TIMM} before them"
        )
    if name is not None and not timm.is_model(name):
        plain = name.partition(".")[0]
        raise ConfigError(
            f"model.encoder = {config.encoder}: timm has no {plain}{did_you_mean(plain, timm.list_models())}"
        )
    if name is not None and "." in name and not timm.models.is_model_pretrained(name):
        known = timm.list_pretrained(name.partition(".")[0] + ".*")
        raise ConfigError(f"model.encoder = {config.encoder}: no weights of that tag{did_you_mean(name, known)}")


def normalisation(config: ModelConfig) -> tuple[tuple[float, ...], tuple[float, ...], str]:
    """Mean and deviation of each band in 0 .. 1, and where they come from, in words.

    Raises:
        ConfigError: the encoder wants images in another form than RGB.
    """
    if config.mean is not None and config.std is not None:
        return config.mean, config.std, "model.mean and model.std"
    if config.name != "smp":
        return _bands(IMAGENET_MEAN, config), _bands(IMAGENET_STD, config), "ImageNet's"
    name, (_, timm) = timm_name(config), libraries()
    if name is not None:
        known = timm.get_pretrained_cfg(name, allow_unregistered=True)
        if known is None or known.mean is None:
            return _bands(IMAGENET_MEAN, config), _bands(IMAGENET_STD, config), "ImageNet's"
        return _bands(known.mean, config), _bands(known.std, config), "the encoder's, by timm's table"
    settings = _published(config)
    if settings is None:
        return _bands(IMAGENET_MEAN, config), _bands(IMAGENET_STD, config), "ImageNet's"
    if settings.get("input_space", "RGB") != "RGB":
        raise ConfigError(
            f"model.encoder = {config.encoder}: its weights want {settings['input_space']} images, which are not made "
            "here; take another encoder, or weights: none"
        )
    largest = float(max(settings.get("input_range", (0, 1))))
    mean, std = (tuple(float(one) / largest for one in settings[key]) for key in ("mean", "std"))
    return _bands(mean, config), _bands(std, config), "the encoder's, by its file in the hub"


def _published(config: ModelConfig) -> dict[str, Any] | None:
    """What smp's hub says of a tag's weights, which were fetched before; None for random weights and files."""
    smp, _ = libraries()
    if config.weights not in smp.encoders.encoders[config.encoder]["pretrained_settings"]:
        return None
    found: dict[str, Any] = smp.encoders.get_preprocessing_params(config.encoder, pretrained=config.weights)
    return found


def _bands(values: tuple[float, ...], config: ModelConfig) -> tuple[float, ...]:
    """Values of three bands for the network's number of bands: their mean for one grey band."""
    return tuple(values) if config.in_channels == len(values) else (sum(values) / len(values),)
