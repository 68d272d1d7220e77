"""Optimiser groups, backbone and head (methods: section 0)."""

from typing import Any

import torch
from torch import nn

from trainers.config import OptimConfig
from trainers.models.layers import by_layer


def build_optimizer(
    model: nn.Module,
    backbone: nn.Module | None,
    config: OptimConfig,
    *,
    adam_lr: float | None = None,
    adam_betas: tuple[float, float] = (0.9, 0.999),
    sgd_lr: float | None = None,
) -> torch.optim.Optimizer:
    """Two groups: the backbone at ``lr``, all else at ``lr * head_lr_multiplier``; one where there is no backbone. With
    ``layer_decay`` there is one for each layer of the backbone, the last layer first. What is frozen is in none. Each
    keeps its rate at step 0 as ``initial_lr``. Fused: one pass over all weights, where one for each operation and
    tensor was.

    Raises:
        ConfigError: the layers of the backbone are not known.

    Args:
        adam_lr: given, one group, trained by Adam at this rate.
        adam_betas: Adam's, then.
        sgd_lr: given, one group, trained by SGD at this rate.
    """
    if adam_lr is not None:
        own = {"params": list(model.parameters()), "lr": adam_lr, "initial_lr": adam_lr}
        return torch.optim.Adam([own], betas=adam_betas, fused=True)
    if sgd_lr is not None:
        learned = [one for one in model.parameters() if one.requires_grad]
        return _sgd([{"params": learned, "lr": sgd_lr, "initial_lr": sgd_lr}], config)
    known = set() if backbone is None else {id(parameter) for parameter in backbone.parameters()}
    layers = [] if backbone is None else by_layer(backbone, config.layer_decay)
    head = [one for one in model.parameters() if one.requires_grad and id(one) not in known]
    groups = [
        *({"params": one, "lr": config.lr * scale, "initial_lr": config.lr * scale} for scale, one in layers),
        {
            "params": head,
            "lr": config.lr * config.head_lr_multiplier,
            "initial_lr": config.lr * config.head_lr_multiplier,
        },
    ]
    groups = [group for group in groups if group["params"]]
    if config.name == "adamw":
        return torch.optim.AdamW(groups, betas=(config.momentum, 0.999), weight_decay=config.weight_decay, fused=True)
    return _sgd(groups, config)


def _sgd(groups: list[dict[str, Any]], config: OptimConfig) -> torch.optim.Optimizer:
    sgd = torch.optim.SGD(groups, momentum=config.momentum, weight_decay=config.weight_decay, fused=True)
    if config.momentum > 0:
        # Fused, it cannot take up a weight whose first gradient comes later than others'. From 0 is as from none.
        for group in sgd.param_groups:
            for parameter in group["params"]:
                sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return sgd


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Set every group to initial_lr * ``factor``; returns the first one's, the backbone's."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
    return float(optimizer.param_groups[0]["lr"])


def clip(model: nn.Module, norm: float | None) -> None:
    """Clip the gradient to an L2 norm, where one is given."""
    if norm is not None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), norm)
