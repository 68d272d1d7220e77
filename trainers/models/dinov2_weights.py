"""DINOv2's weights: timm's copies from the Hugging Face hub or its cache, or a file."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainers.common.errors import CheckpointError, ConfigError
from trainers.common.home import expanded
from trainers.common.paths import is_file
from trainers.models.weights import of_bands

FILE = "model.safetensors"
NOT_READ = "mask_token"
"""Key of the original files that only the pre-training uses."""
PATCHES = "patch_embed.proj.weight"


def load_dinov2(encoder: nn.Module, *, size: str, weights: str) -> None:
    """Fill the encoder, or leave it random for ``none``. Every name and shape must fit: loading by what happens to
    match would leave random weights where a file's names are others.

    Args:
        size: of the encoder, `model.size`.
        weights: `imagenet`, which is to say the published ones; `none`; or the path of a file: the original one (.pth)
            or timm's (.safetensors). An encoder of other than three bands gets filters made of those of the three.

    Raises:
        ConfigError: there are no such weights, or they are not on this machine and cannot be downloaded.
        CheckpointError: they belong to another network.
    """
    if weights == "none":
        return
    path = _from_hub(size) if weights == "imagenet" else expanded(weights)
    state = {name: value for name, value in _read(path).items() if name != NOT_READ}
    own = encoder.state_dict()
    if PATCHES in state:
        state[PATCHES] = of_bands(state[PATCHES], own[PATCHES].shape[1])
    faults = {
        "missing": sorted(set(own) - set(state)),
        "unknown": sorted(set(state) - set(own)),
        "of another shape": sorted(name for name in set(own) & set(state) if own[name].shape != state[name].shape),
    }
    if any(faults.values()):
        listed = "; ".join(
            f"{what}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''} ({len(names)})"
            for what, names in faults.items()
            if names
        )
        raise CheckpointError(f"model.weights: {path} does not fit DINOv2 of model.size {size}: {listed}")
    encoder.load_state_dict(state)


def _from_hub(size: str) -> Path:
    """timm's copy on this machine, downloaded where the hub can be reached."""
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache

    if size == "tiny":
        raise ConfigError("model.weights = imagenet: there are none for model.size tiny; set model.weights: none")
    repository = f"timm/vit_{size}_patch14_dinov2.lvd142m"
    known = try_to_load_from_cache(repository, FILE)
    if isinstance(known, str):
        return Path(known)
    try:
        return Path(hf_hub_download(repository, FILE))
    except (OSError, ValueError) as error:
        folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
        raise ConfigError(
            f"model.weights = imagenet: {repository} is not in {folder} and cannot be downloaded "
            f"({str(error).splitlines()[0]}); copy that folder from a machine that has it (HF_HOME or HF_HUB_CACHE "
            "says where it is looked for), or give model.weights the path of "
            f"dinov2_vit{size[0]}14_pretrain.pth, or none"
        ) from None


def _read(path: Path) -> dict[str, Tensor]:
    if not is_file(path, what="model.weights"):
        raise ConfigError(f"model.weights = {path}: no such file; allowed: imagenet, none, or the path of a state dict")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"model.weights = {path}: not a state dict ({error})") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"model.weights = {path}: expected a mapping of names to tensors")
    return state
