"""Batch norm where several processes train: over the images of all of them, or over each one's own."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from trainers.common.float32 import exact
from trainers.loop.process_group import Process

BatchNormOver = Literal["global", "device"]
PIXELS = (0, 2, 3)
TIMMS = "BatchNormAct2d"
"""timm's class, by its name: the library is not imported for it."""


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the batch of all processes, for devices on which torch.nn.SyncBatchNorm does not run (CPU). As
    there, processes exchange once in the forward and once in the backward pass.

    Statistics are float32 or wider, also of bfloat16 features; the output has the features' type. Processes may bring
    different numbers of features, also none.
    """

    def forward(self, features: Tensor) -> Tensor:
        if not self.training:
            return super().forward(features)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        output: Tensor
        output, mean, variance, count = _Normalise.apply(features, self.weight, self.bias, self.eps)
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        return output


class GlobalBatchNormAct2d(GlobalBatchNorm2d):
    """The same of timm's batch norm, which drops and activates what it has normalised."""

    drop: nn.Module
    act: nn.Module

    def forward(self, features: Tensor) -> Tensor:
        activated: Tensor = self.act(self.drop(super().forward(features)))
        return activated


class _Normalise(torch.autograd.Function):
    """Features (B, C, h, w) normalised by the mean and variance of all processes, with these (C,) and the number of
    pixels that they are of."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        precise = exact(features)
        own = precise.new_tensor(features.numel() // features.shape[1])  # exact up to 2^24 pixels
        middle = precise.sum(dim=PIXELS) / own.clamp(min=1)
        spread = (precise - middle[:, None, None]).square().sum(dim=PIXELS)
        told = torch.cat([middle, spread, own[None]])
        every = [torch.empty_like(told) for _ in range(dist.get_world_size())]
        dist.all_gather(every, told)
        middles, spreads, counts = torch.stack(every).tensor_split([len(middle), 2 * len(middle)], dim=1)
        count = counts.sum()
        mean = (counts * middles).sum(dim=0) / count
        variance = (spreads + counts * (middles - mean).square()).sum(dim=0) / count
        scale = torch.rsqrt(variance + eps)
        normalised = (precise - mean[:, None, None]) * (scale * weight)[:, None, None] + bias[:, None, None]
        ctx.save_for_backward(features, weight, mean, scale, count)
        ctx.mark_non_differentiable(mean, variance, count)
        return normalised.to(features.dtype), mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        features, weight, mean, scale, count = ctx.saved_tensors
        precise = exact(slope)
        normal = (exact(features) - mean[:, None, None]) * scale[:, None, None]
        own = torch.stack([precise.sum(dim=PIXELS), (precise * normal).sum(dim=PIXELS)])
        summed = own.clone()
        dist.all_reduce(summed)
        along, across = (summed / count)[:, :, None, None]
        gradient = (precise - along - normal * across) * (scale * weight)[:, None, None]
        return gradient.to(features.dtype), own[1].to(weight.dtype), own[0].to(weight.dtype), None


def place_batch_norm(model: nn.Module, process: Process, over: BatchNormOver = "global") -> nn.Module:
    """The model with batch norm over all processes, or over this one alone; the same model where there is one process.

    Names and values of parameters and buffers stay as they are, so that checkpoints fit either form.
    """
    if process.world == 1 or over == "device":
        return model
    activating = [module for module in model.modules() if type(module).__name__ == TIMMS]
    if process.device.type == "cuda":
        # PyTorch's own would leave timm's activations out.
        convert = _of_timm() if activating else nn.SyncBatchNorm.convert_sync_batchnorm
        converted: nn.Module = convert(model)
        return converted
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = GlobalBatchNorm2d
    for module in activating:
        module.__class__ = GlobalBatchNormAct2d
    return model


def _of_timm() -> Callable[[nn.Module], nn.Module]:
    from timm.layers import convert_sync_batchnorm  # type: ignore[attr-defined]

    found: Callable[[nn.Module], nn.Module] = convert_sync_batchnorm
    return found


def statistics_of(state: Mapping[str, Mapping[str, Tensor]]) -> list[Tensor]:
    """The running means and variances among the tensors of each part of a run (`trainers.loop.run.Run.weights`). Where
    each process normalises by its own images they differ; their means over processes are taken for all of them then,
    without what lies between the processes' means."""
    names = ("running_mean", "running_var")
    return [value for part in state.values() for name, value in part.items() if name.endswith(names)]
