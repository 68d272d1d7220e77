"""Pretrained weights of smp's and timm's encoders: from the hub's cache, from the hub, or from a file; and whether they
arrived, since timm leaves an encoder random, in silence, where a file's names are others."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainers.common.errors import CheckpointError, ConfigError
from trainers.common.home import expanded
from trainers.common.paths import is_file
from trainers.models.libraries import TIMM, libraries, timm_name
from trainers.models.model_config import ModelConfig

SHOWN = 3
"""Names of tensors in a message."""


def with_weights(config: ModelConfig, make: Callable[..., nn.Module]) -> nn.Module:
    """The network that ``make`` makes, the weights of its ``encoder`` as `model.weights` says.

    Args:
        make: called with keyword arguments of smp's model, `encoder_weights` among them. Equal states of torch's global
            generator must give equal weights.

    Raises:
        ConfigError: there are no such weights, or they are not on this machine and cannot be fetched.
        CheckpointError: they are of another encoder.
    """
    if config.weights == "none":
        return make(encoder_weights=None)
    if timm_name(config) is not None:
        return _of_timm(config, make)
    smp, _ = libraries()
    settings = smp.encoders.encoders[config.encoder]["pretrained_settings"]
    if config.weights in settings:
        with _from_the_hub(config, settings[config.weights]["repo_id"]):
            return make(encoder_weights=config.weights)
    path = _file(config, tags=list(settings))
    model = make(encoder_weights=None, in_channels=3)
    encoder: Any = model.encoder
    try:
        encoder.load_state_dict(dict(_state_dict(path)))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"model.weights = {path} does not fit encoder {config.encoder}: {reason}") from None
    encoder.set_in_channels(config.in_channels, pretrained=True)
    return model


def _of_timm(config: ModelConfig, make: Callable[..., nn.Module]) -> nn.Module:
    name = config.encoder.removeprefix(TIMM)
    path = _cached(name) if config.weights == "imagenet" else _file(config, tags=["imagenet"])
    before = torch.get_rng_state()
    if path is None:
        with _from_the_hub(config, f"timm/{_with_tag(name)}"):
            loaded = make(encoder_weights="hub")
        source = f"the hub's timm/{_with_tag(name)}"
    else:
        try:
            loaded = make(encoder_weights="file", pretrained_cfg_overlay={"file": str(path)})
        except (RuntimeError, OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(f"model.weights = {path} does not fit encoder {config.encoder}: {reason}") from None
        source = str(path)
    after = torch.get_rng_state()
    torch.set_rng_state(before)
    fresh = make(encoder_weights=None)
    torch.set_rng_state(after)
    if left := untouched(fresh.encoder, loaded.encoder):  # type: ignore[arg-type]
        every = sum(one.ndim > 1 for one in fresh.encoder.parameters())  # type: ignore[union-attr]
        raise CheckpointError(
            f"model.weights: {len(left)} of {every} weights of encoder {config.encoder} were not in {source} and are "
            f"random: {', '.join(left[:SHOWN])}{' ...' if len(left) > SHOWN else ''}; its names are not timm's: "
            "docs/reference/models.md says how such a file is converted"
        )
    return loaded


def untouched(fresh: nn.Module, loaded: nn.Module) -> list[str]:
    """Weights of two or more dimensions that are the same in both: what loading left as it was drawn."""
    given = dict(loaded.named_parameters())
    return [name for name, one in fresh.named_parameters() if one.ndim > 1 and torch.equal(one, given[name])]


def _file(config: ModelConfig, *, tags: list[str]) -> Path:
    path = expanded(config.weights)
    if not is_file(path, what="model.weights"):
        raise ConfigError(
            f"model.weights = {config.weights}: no such file, and no tag of encoder {config.encoder}; allowed: none, "
            f"{', '.join(tags)}, or the path of a state dict (.pth, .safetensors)"
        )
    return path


def _state_dict(path: Path) -> dict[str, torch.Tensor]:
    _, timm = libraries()
    try:
        found: dict[str, torch.Tensor] = timm.models.load_state_dict(str(path), use_ema=False)
    except Exception as error:
        raise CheckpointError(f"model.weights = {path}: not a PyTorch state dict ({error})") from None
    return found


def _with_tag(name: str) -> str:
    """timm's name with the tag that it stands for where none is given."""
    _, timm = libraries()
    known = timm.get_pretrained_cfg(name, allow_unregistered=True)
    plain = name.partition(".")[0]
    return f"{plain}.{known.tag}" if known is not None and known.tag else name


def _cached(name: str) -> Path | None:
    """The file of timm's weights in the hub's cache, without asking the hub."""
    from huggingface_hub import try_to_load_from_cache

    _, timm = libraries()
    known = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if known is None or not known.has_weights:
        raise ConfigError(
            f"model.weights = imagenet: timm has no weights of {name}; set model.weights: none, or name a file"
        )
    if known.custom_load or not known.hf_hub_id:
        return None
    repository = known.hf_hub_id + _with_tag(name) if known.hf_hub_id.endswith("/") else known.hf_hub_id
    for file in ("model.safetensors", known.hf_hub_filename or "pytorch_model.bin"):
        found = try_to_load_from_cache(repository, file)
        if isinstance(found, str):
            return Path(found)
    return None


@contextlib.contextmanager
def _from_the_hub(config: ModelConfig, repository: str) -> Iterator[None]:
    """Says what to do where the hub cannot be reached."""
    from huggingface_hub import constants, errors

    try:
        yield
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError) as error:
        folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
        offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
        how = "HF_HUB_OFFLINE is set" if offline else "set HF_HUB_OFFLINE=1 to fail at once"
        raise ConfigError(
            f"model.weights = {config.weights}: {repository} is not in the hub's cache ({folder}), and the hub cannot "
            f"be reached ({type(error).__name__}; {how}). Bring that folder here from a machine that has it, give "
            "model.weights the path of a state dict, or set model.weights: none"
        ) from None
