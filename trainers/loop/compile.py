"""torch.compile for the networks that train, with a cache on disk that all trials of a machine share."""

import os
from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn

from trainers.data.layout import cache_folder

MODES = {"default": None, "cuda_graphs": "reduce-overhead"}


def compile_networks(networks: Iterable[nn.Module], mode: Literal["off", "default", "cuda_graphs"]) -> None:
    """Compile networks in place, at their first call; names, weights and checkpoints stay as they are."""
    if mode == "off":
        return
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "compiled"))
    for network in networks:
        network.compile(mode=MODES[mode], dynamic=False)


def begin_step(mode: Literal["off", "default", "cuda_graphs"]) -> None:
    """Outputs of the step before may be overwritten from here on."""
    if mode == "cuda_graphs":
        torch.compiler.cudagraph_mark_step_begin()
