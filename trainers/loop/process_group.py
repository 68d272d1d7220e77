"""This process among the others: rank, device, sums and means over processes.

Gradients of the student are averaged by DDP, which sends them while the backward pass goes on; so are those of the
networks, discriminators and heads beside it that have one forward pass as their only way in
(`AuxiliaryModule.in_ddp`); PS-MT's teachers train in the warm-up alone. Two methods' heads are averaged after the
backward pass instead (`Process.average_gradients`): DDP wants one forward pass as the only way in, through the same
parameters on every process and at every call.

- Alonso et al.: a class's two selectors are used where a step's images and the memory show the class.
- PseudoSeg: classifier, attention and refinement are called one by one, the classifier also inside Grad-CAM.
"""

import inspect
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trainers.common.errors import ConfigError
from trainers.common.float32 import exact
from trainers.interface.step import Denominator


@dataclass(frozen=True, kw_only=True)
class Process:
    """One of ``world`` training processes."""

    rank: int
    world: int
    device: torch.device

    def sum_(self, tensor: Tensor) -> Tensor:
        """``tensor`` summed over processes, in place."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def min_(self, tensor: Tensor) -> Tensor:
        """The smallest over processes, in place."""
        if self.world > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.MIN)
        return tensor

    def smallest(self, number: float) -> float:
        """The smallest of the numbers that the processes give."""
        return float(self.min_(torch.tensor(float(number), dtype=torch.float64, device=self.device)))

    def agree(self, decision: bool) -> bool:
        """Rank 0's decision, on every process."""
        if self.world == 1:
            return decision
        flag = torch.tensor(float(decision), device=self.device)
        dist.broadcast(flag, src=0)
        return bool(flag)

    def same(self, number: int) -> bool:
        """Whether all processes give the same number; none goes on before all have asked."""
        both = torch.tensor([number, -number], dtype=torch.float64, device=self.device)
        smallest, negative_of_largest = self.min_(both).tolist()
        return bool(smallest == -negative_of_largest)

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Rank 0's values into the tensors of every process, in place."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Every parameter's gradient becomes the mean over processes, in the memory layout of its parameter: a fused
        optimiser goes through both side by side as they lie in memory. One that took no part counts as 0; where it took
        none on any process it stays without, so that the optimiser leaves it as it is."""
        if self.world == 1:
            return
        listed = list(parameters)
        took_part = self.sum_(torch.tensor([float(one.grad is not None) for one in listed], device=self.device))
        listed = [one for one, count in zip(listed, took_part.tolist(), strict=True) if count]
        if not listed:
            return
        flat = torch.cat(
            [torch.zeros_like(one).flatten() if one.grad is None else one.grad.flatten() for one in listed]
        )
        for one, mean in zip(
            listed, (self.sum_(flat) / self.world).split([one.numel() for one in listed]), strict=True
        ):
            one.grad = torch.empty_like(one).copy_(mean.view_as(one))

    def average_(self, tensors: Iterable[Tensor]) -> None:
        """Every tensor becomes its mean over processes, in place; of one type and device, and as many everywhere."""
        listed = list(tensors)
        if self.world == 1 or not listed:
            return
        flat = self.sum_(torch.cat([one.flatten() for one in listed])) / self.world
        for one, mean in zip(listed, flat.split([one.numel() for one in listed]), strict=True):
            one.copy_(mean.view_as(one))

    def total(self, summand: Tensor) -> Tensor:
        """Sum over processes. Its gradient is summed too: every process's loss depends on every process's summand."""
        if self.world == 1:
            return summand
        total: Tensor = _Sum.apply(summand)
        return total

    def gather(self, rows: Tensor, counts: Sequence[int] | None = None) -> Tensor:
        """(n, ...) of all processes, one below the other by rank, without gradient; n may differ between them.

        Args:
            counts: n of every process. None: they tell each other, for which the host waits.
        """
        rows = rows.detach().contiguous()
        if self.world == 1:
            return rows
        if counts is None:
            told = [torch.zeros(1, dtype=torch.int64, device=self.device) for _ in range(self.world)]
            dist.all_gather(told, torch.full((1,), len(rows), device=self.device))
            counts = torch.cat(told).tolist()
        longest = max(counts)
        padded = torch.cat([rows, rows.new_zeros(longest - len(rows), *rows.shape[1:])])
        every = [torch.empty_like(padded) for _ in range(self.world)]
        dist.all_gather(every, padded)
        return torch.cat([one[:count] for one, count in zip(every, counts, strict=True)])

    def barrier(self) -> None:
        if self.world > 1:
            dist.barrier()

    def denominator(self, mode: Literal["global", "device"]) -> Denominator:
        """See `trainers.interface.step.Denominator`."""

        def divisor(count: Tensor) -> Tensor:
            total = exact(count.detach()).clone()
            if mode == "global" and self.world > 1:
                total = self.sum_(total) / self.world
                return total.clamp(min=1 / self.world)
            return total.clamp(min=1)

        return divisor

    def wrapped(self, model: nn.Module) -> nn.Module:
        """The model as training calls it: in DDP where there are several processes."""
        if self.world == 1:
            return model
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids, **without_buffer_sync(DistributedDataParallel))


def without_buffer_sync(wrapper: Callable[..., nn.Module]) -> dict[str, Any]:
    """The argument with which DDP does not send rank 0's buffers before every forward pass: they are equal on all
    processes already where batch norm is over the global batch, and are each process's own where it is not. PyTorch
    renamed it; 2.11 knows the older name only."""
    known = inspect.signature(wrapper).parameters
    return {"forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False}


def current(device: Literal["auto", "cpu", "cuda"]) -> Process:
    """This process, from torch.distributed where it is initialised.

    Raises:
        ConfigError: `precision.device: cuda` without one.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("precision.device = cuda: PyTorch finds no CUDA device here; allowed: auto, cpu")
    use_cuda = device != "cpu" and torch.cuda.is_available()
    local = int(os.environ.get("LOCAL_RANK", "0"))
    chosen = torch.device("cuda", local % torch.cuda.device_count()) if use_cuda else torch.device("cpu")
    if use_cuda:
        torch.cuda.set_device(chosen)
    if dist.is_available() and dist.is_initialized():
        return Process(rank=dist.get_rank(), world=dist.get_world_size(), device=chosen)
    return Process(rank=0, world=1, device=chosen)


class _Sum(torch.autograd.Function):
    """Sum over processes; so is its gradient, since every process's loss depends on every process's summand."""

    @staticmethod
    def forward(ctx: Any, summand: Tensor) -> Tensor:
        total = summand.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total
