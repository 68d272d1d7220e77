"""The layers of a backbone, as timm groups them, for learning rates that fall with the depth."""

import importlib
from typing import Any

import torch
from torch import nn

from trainers.common.errors import ConfigError
from trainers.models.backbones import Encoder


def by_layer(backbone: nn.Module, decay: float) -> list[tuple[float, list[torch.nn.Parameter]]]:
    """What trains of a backbone in groups, each with the factor of its learning rate: decay^n for the n-th layer below
    the last one, as in BEiT. The last come first. One group at 1 where the decay is 1, of our own DeepLabV3+, whose
    layers have one rate, and of a list of single layers, which are no backbone themselves.

    Raises:
        ConfigError: timm does not say what the layers are.
    """
    if decay == 1 or isinstance(backbone, Encoder | nn.ModuleList):
        return [(1.0, [one for one in backbone.parameters() if one.requires_grad])]
    whole = backbone if hasattr(backbone, "group_matcher") else getattr(backbone, "model", None)
    if not hasattr(whole, "group_matcher"):
        raise ConfigError(
            "optim.layer_decay: this encoder's layers are not known; timm tells those of vision transformers, which "
            "model.architecture dpt and model.name dinov2_dpt have. Set it to 1"
        )
    optim: Any = importlib.import_module("timm.optim")
    groups = optim.param_groups_layer_decay(whole, weight_decay=0.0, weight_decay_exclude_1d=False, layer_decay=decay)
    return [(float(group["lr_scale"]), list(group["params"])) for group in reversed(groups)]
