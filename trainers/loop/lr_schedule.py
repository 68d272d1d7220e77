"""The learning rate over the steps of a training, by PyTorch's own schedulers.

They are asked once, before the first step, and give a factor for every step. A checkpoint then needs no state of
theirs, and a run that goes on has the rates of one that was never interrupted.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch.optim import lr_scheduler

from trainers.config import ScheduleConfig


def lr_factors(config: ScheduleConfig, *, steps_per_epoch: int, total: int) -> Sequence[float]:
    """What `optim.lr` is multiplied by at each of ``total`` steps."""
    return _factors(config.lr, config.poly_power, lr_warmup_steps(config, steps_per_epoch=steps_per_epoch), total)


def lr_warmup_steps(config: ScheduleConfig, *, steps_per_epoch: int) -> int:
    """Steps of the linear warm-up; 0: none."""
    epochs = config.lr_warmup_epochs
    return config.lr_warmup_steps if epochs is None else math.ceil(epochs * steps_per_epoch)


def warmup_lines(config: ScheduleConfig, *, steps_per_epoch: int, total: int) -> list[str]:
    """What a user has to know of a warm-up that does not end."""
    steps = lr_warmup_steps(config, steps_per_epoch=steps_per_epoch)
    if steps < total or steps == 0:
        return []
    key = "lr_warmup_steps" if config.lr_warmup_epochs is None else "lr_warmup_epochs"
    return [
        f"learning rate: the warm-up of {steps} steps is as long as the training ({total} steps), which never reaches "
        f"optim.lr; lower schedule.{key}"
    ]


@lru_cache(maxsize=8)
def _factors(kind: str, power: float, warmup: int, total: int) -> tuple[float, ...]:
    after = total - warmup
    if kind == "poly" and warmup == 0:
        return tuple((1 - step / total) ** power for step in range(total))
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    parts: list[lr_scheduler.LRScheduler] = []
    if warmup:
        parts.append(lr_scheduler.LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup))
    if after > 0:
        parts.append(_falling(optimizer, kind, power=power, steps=after))
    scheduler = lr_scheduler.SequentialLR(optimizer, parts, [warmup]) if len(parts) > 1 else parts[0]
    found = []
    for _ in range(total):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return tuple(found)


def _falling(
    optimizer: torch.optim.Optimizer, kind: str, *, power: float, steps: int
) -> lr_scheduler.CosineAnnealingLR | lr_scheduler.LambdaLR:
    """The schedule after the warm-up."""
    if kind == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    if kind == "poly":
        return lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, 1 - step / steps) ** power)
    return lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
