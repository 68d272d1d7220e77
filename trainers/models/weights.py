"""Pretrained backbone weights: torchvision's, or a state dict from a path."""

from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
import torchvision
from torch import Tensor, nn

from trainers.common.errors import CheckpointError, ConfigError
from trainers.common.home import expanded
from trainers.common.paths import is_file
from trainers.models.backbones import first_convolution
from trainers.models.model_config import ModelConfig


def load_weights(backbone: nn.Module, config: ModelConfig) -> None:
    """Fill the backbone as ``model.weights`` says, or leave it random for ``none``.

    A classifier (``fc.*``) is dropped. Batch norm's step counters, which files older than PyTorch 0.4.1 do not have,
    may be missing; every other name and shape must fit.

    Raises:
        ConfigError: there are no such weights, or they are not on this machine and cannot be downloaded.
        CheckpointError: they belong to another architecture.
    """
    if config.weights == "none":
        return
    if config.weights == "imagenet":
        source, state = f"torchvision's {config.backbone}", _imagenet(config)
    else:
        source, state = config.weights, _from_path(expanded(config.weights))
    own = backbone.state_dict()
    counters = {name: value for name, value in own.items() if name.endswith(".num_batches_tracked")}
    state = counters | {name: value for name, value in state.items() if not name.startswith("fc.")}
    stem = f"{first_convolution(backbone)}.weight"
    if stem in state:
        state[stem] = of_bands(state[stem], config.in_channels)
    missing = sorted(set(own) - set(state))
    foreign = sorted(set(state) - set(own))
    shapes = sorted(name for name in set(own) & set(state) if own[name].shape != state[name].shape)
    if missing or foreign or shapes:
        faults = [
            f"{what}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''} ({len(names)})"
            for what, names in (("missing", missing), ("unknown", foreign), ("of another shape", shapes))
            if names
        ]
        raise CheckpointError(
            f"model.weights: {source} does not fit backbone {config.backbone} with stem {config.stem}: "
            f"{'; '.join(faults)}"
        )
    backbone.load_state_dict(state)


def of_bands(filters: Tensor, bands: int) -> Tensor:
    """Filters of red, green and blue (C, 3, h, w) for images of so many bands: for one their sum, for others the three
    in turn, times 3 / bands. Others, and those of three bands, stay as they are."""
    if bands == 3 or filters.shape[1:2] != (3,):
        return filters
    if bands == 1:
        return filters.sum(dim=1, keepdim=True)
    return filters[:, [band % 3 for band in range(bands)]] * (3 / bands)


def _imagenet(config: ModelConfig) -> dict[str, Tensor]:
    if config.backbone == "small":
        raise ConfigError("model.weights = imagenet: there are none for backbone small; set model.weights: none")
    if config.stem == "deep":
        raise ConfigError(
            "model.weights = imagenet: torchvision's weights have the 7x7 stem; set model.stem: 7x7, or give "
            "model.weights the path of a deep-stem state dict"
        )
    weights = torchvision.models.get_model_weights(config.backbone)["IMAGENET1K_V1"]
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name
    if cached.is_file():
        return _from_path(cached)
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, HTTPException, RuntimeError) as error:
        raise ConfigError(
            f"model.weights = imagenet: {cached} is not there and cannot be downloaded ({error}); put the file there, "
            "give model.weights the path of a state dict, or set model.weights: none"
        ) from None
    return state


def _from_path(path: Path) -> dict[str, Tensor]:
    if not is_file(path, what="model.weights"):
        raise ConfigError(f"model.weights = {path}: no such file; allowed: imagenet, none, or the path of a state dict")
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"model.weights = {path}: not a PyTorch state dict ({error})") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"model.weights = {path}: expected a mapping of names to tensors")
    return state
