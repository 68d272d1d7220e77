"""Bytes of tensors that are alive while a step runs without computing: shapes and types alone.

PyTorch's fake tensors carry shapes, types and strides, and no values. Every operator passes a dispatch mode, which
counts a storage from the operator that makes it until the last tensor that shares it is gone. What autograd saves for
the backward pass is among them, since it holds fake tensors as it would hold real ones.
"""

import math
import weakref
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

BLOCK = 512
"""PyTorch's allocator on a GPU gives memory in multiples of so many bytes."""

ARRAYS: tuple[Any, ...] = (Tensor.numpy, Tensor.__array__)
"""What hands all values of a tensor to the host; operators do not see it."""

aten = torch.ops.aten
INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index}


class LiveBytes(TorchDispatchMode):
    """Counts the storages of fake tensors that are made inside; entered inside a `FakeTensorMode`. Real tensors, such
    as weights, are not counted.

    An operator whose outcome depends on values gets the one that takes most memory: a mask selects everything. A number
    that the host reads is 1, or true.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        """Bytes alive."""
        self.peak = 0
        """The most that were alive at one time."""
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = _outcome(func, args, kwargs or {})
        given = {_key(one) for one in tree_leaves((args, kwargs)) if isinstance(one, FakeTensor)}
        in_place = func._schema.is_mutable
        for one in tree_leaves(found):
            if isinstance(one, FakeTensor) and not (in_place and _key(one) not in given):
                self._see(one)
        return found

    def _see(self, tensor: Tensor) -> None:
        storage, key = tensor.untyped_storage(), _key(tensor)
        if key in self._known:
            return
        size = math.ceil(storage.nbytes() / BLOCK) * BLOCK
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


class ReadOnes(TorchFunctionMode):
    """Arrays that the host reads of fake tensors are full of ones, as a single number is 1: every pixel is of class 1,
    and every image shows it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in ARRAYS or not isinstance(args[0], FakeTensor):
            return func(*args, **(kwargs or {}))
        return np.ones(args[0].shape, dtype=str(args[0].dtype).removeprefix("torch."))


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _outcome(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    packet = func.overloadpacket
    if packet is aten._local_scalar_dense:
        dtype = args[0].dtype
        return True if dtype == torch.bool else 1.0 if dtype.is_floating_point else 1
    if packet is aten.equal:
        return True
    if packet is aten.nonzero:
        return args[0].new_empty((args[0].numel(), args[0].dim()), dtype=torch.int64)
    if packet is aten.masked_select:
        return args[0].new_empty((torch.broadcast_shapes(args[0].shape, args[1].shape).numel(),))
    if packet is aten._unique2:
        size = (args[0].numel(),)
        return args[0].new_empty(size), args[0].new_empty(args[0].shape, dtype=torch.int64), args[0].new_empty(size)
    if packet in INDEXED:
        args = (args[0], [index for one in args[1] for index in _places(one)], *args[2:])
    return func(*args, **kwargs)


def _places(index: Tensor | None) -> list[Tensor | None]:
    """A mask as the places that it selects, of each of its sides; other indices as they are."""
    if index is None or index.dtype not in (torch.bool, torch.uint8):
        return [index]
    return [index.new_empty((index.numel(),), dtype=torch.int64) for _ in range(index.dim())]
