"""How far a step is from what the machine can do: operations and bytes counted, operator by operator, against rates of
matrix products and copies measured in the same run."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What was measured: matrix operations and copied bytes (read and written) a second."""

    flops: float
    bytes: float


class Counted(TorchDispatchMode):
    """Sums over all operators that run inside: ``flops`` (two for each multiply-add, of products and convolutions, as
    `FlopCounterMode` counts them), ``bytes`` of tensors read and written (views are free), and ``seconds``, the least
    time in which the machine can do it: for each operator the larger of its two times."""

    def __init__(self, rates: Rates | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = self.bytes = self.seconds = 0.0
        self._rates = rates

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        flops = float(count(*args, **(kwargs or {}), out_val=out)) if count else 0.0
        moved = 0.0 if _is_view(func) else float(sum(_size(one) for one in tree_leaves((args, kwargs, out))))
        self.flops, self.bytes = self.flops + flops, self.bytes + moved
        if self._rates is not None:
            self.seconds += max(flops / self._rates.flops, moved / self._rates.bytes)
        return out


def _is_view(func: Any) -> bool:
    returns = func._schema.returns
    return (
        any(one.alias_info is not None and not one.alias_info.is_write for one in returns) or "empty" in func.__name__
    )


def _size(value: Any) -> int:
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0


def measure(device: str, *, precision: str, seconds: float = 0.4) -> Rates:
    """Matrix product of two large square matrices, and copy of an array much larger than any cache."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    side = 8192 if device == "cuda" else 1536
    first, second = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    source = torch.randn((2**30 if device == "cuda" else 2**26) // 4, device=device)
    target = torch.empty_like(source)
    product = _fastest(lambda: torch.mm(first, second), device, seconds)
    copy = _fastest(lambda: target.copy_(source), device, seconds)
    return Rates(flops=2 * side**3 / product, bytes=2 * source.numel() * 4 / copy)


def _fastest(work: Callable[[], Any], device: str, seconds: float) -> float:
    best, begun = float("inf"), time.perf_counter()
    work()
    while best == float("inf") or time.perf_counter() - begun < seconds:
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best
