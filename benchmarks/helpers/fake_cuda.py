"""Tensors that say they are on a GPU while a CPU computes their values, so that operators and host waits of a training
step can be counted on a machine without one.

What counts as a host wait is what `torch.cuda.set_sync_debug_mode` warns of: a number read by the host, an operator
whose output's size depends on values, and a copy between host and device that is not asynchronous. Kernels inside an
operator are not seen: a device operator is one kernel launch or more.
"""

import contextlib
import traceback
from collections import Counter
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

from benchmarks.helpers.fake_batch_norm import KERNELS
from trainers.data.views import _constants
from trainers.models import upsample

aten = torch.ops.aten
HOST = torch.device("cpu")
GPU = torch.device("cuda", 0)

WAITS: dict[Any, int] = {
    aten._local_scalar_dense: 1,
    aten.nonzero: 1,
    aten.masked_select: 1,
    aten.unique_dim: 1,
    aten.unique_consecutive: 1,
    aten._unique: 1,
    aten._unique2: 1,
    aten.equal: 1,
    aten.repeat_interleave: 1,
    aten.bincount: 2,
}
"""Times that the host waits in an operator on device tensors. `bincount` reads the smallest and the largest value."""
SORTED_IF_DETERMINISTIC = {aten.scatter, aten.scatter_, aten.scatter_add, aten.scatter_add_}
"""In deterministic mode these become `index_put_`, which sorts, and of more than one dimension copy strides from the
host (`_scatter_via_index_put`)."""
INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index}
COPIES = {aten._to_copy, aten.copy_}
NO_KERNEL = {
    aten.alias,
    aten.detach,
    aten.lift_fresh,
    aten._unsafe_view,
    aten.empty,
    aten.empty_like,
    aten.empty_strided,
    aten.new_empty,
    aten.new_empty_strided,
    aten.is_same_size,
    aten.resize_,
    aten.set_,
}
"""Operators that make no kernel; views are the others."""


class OnDevice(Tensor):
    """A tensor of device `cuda`; ``elem`` has its values on the CPU. To PyTorch's own code its device is `meta`, since
    autograd runs that without a GPU's threads. Autocast therefore leaves it as it is."""

    elem: Tensor

    @staticmethod
    def __new__(cls: type["OnDevice"], elem: Tensor) -> "OnDevice":
        made: OnDevice = Tensor._make_wrapper_subclass(
            cls,
            elem.size(),
            strides=elem.stride(),
            storage_offset=elem.storage_offset(),
            dtype=elem.dtype,
            layout=elem.layout,
            device=torch.device("meta"),
            requires_grad=False,
        )
        made.elem = elem
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return GPU

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_meta(self) -> bool:  # type: ignore[override]
        return False

    def record_stream(self, stream: object) -> None:
        """There is one stream."""

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __repr__(self, *, tensor_contents: object = None) -> str:  # type: ignore[override]
        return f"OnDevice({self.elem!r})"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Without a :class:`Count` around it the tensor only computes."""
        return _computed(func, args, kwargs or {})[0]


class Count(TorchDispatchMode):
    """Makes tensors for device `cuda` into :class:`OnDevice`, and counts while ``counting`` is on.

    Attributes:
        operators: device operators, views and empty tensors left out.
        waits: host waits, by the line of the packages' code that asked and the operator.
        exchanges: operators of `torch.distributed`, by kind. A host does not wait for them.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counting = False
        self.operators = 0
        self.waits: Counter[str] = Counter()
        self.exchanges: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result, on_device = _computed(func, args, kwargs)
        if self.counting and on_device:
            packet = func.overloadpacket
            if not (func.is_view or packet in NO_KERNEL):
                self.operators += 1
            if func.namespace == "c10d":
                self.exchanges[packet.__name__] += 1
            waits = _waits(func, args, kwargs)
            if waits:
                self.wait(packet.__name__, waits)
        return result

    def wait(self, why: str, times: int = 1) -> None:
        """The host waits."""
        self.waits[f"{_asked_at()} {why}"] += times

    def clear(self) -> None:
        """From here on."""
        self.operators = 0
        self.waits.clear()
        self.exchanges.clear()


def _computed(func: Any, args: Any, kwargs: Any) -> tuple[Any, bool]:
    """The operator's result, and whether it runs on the device or leads to it or from it."""
    from_device = any(isinstance(one, OnDevice) for one in tree_leaves((args, kwargs)))
    device = kwargs.get("device")
    to_device = _is_gpu(device)
    to_host = device is not None and not to_device
    plain_args, plain_kwargs = tree_map_only(OnDevice, lambda one: one.elem, (args, kwargs))
    if to_device:
        plain_kwargs = {**plain_kwargs, "device": HOST}
    if plain_kwargs.get("pin_memory"):
        plain_kwargs = {**plain_kwargs, "pin_memory": False}
    out = KERNELS.get(func.overloadpacket, func)(*plain_args, **plain_kwargs)
    if func.namespace == "c10d":
        return out, True
    if func.overloadpacket is aten._to_copy and (to_host or to_device) and _shares(out, plain_args[0]):
        out = out.clone()
    wrapped = to_device or (from_device and not to_host)
    if func.overloadpacket is aten.copy_ and not isinstance(args[0], OnDevice):
        wrapped = False
    if not wrapped:
        return out, from_device or to_device
    out = tree_map_only(Tensor, OnDevice, out)
    if from_device and not to_device:
        out = return_and_correct_aliasing(func, args, kwargs, out)
    return out, True


def _is_gpu(device: Any) -> bool:
    return device is not None and torch.device(device).type in ("cuda", "meta")


def _shares(one: Any, other: Any) -> bool:
    return one is other or one.untyped_storage()._cdata == other.untyped_storage()._cdata


def _waits(func: Any, args: Any, kwargs: Any) -> int:
    packet = func.overloadpacket
    if packet in COPIES:
        return _of_copy(packet, args, kwargs)
    if packet in SORTED_IF_DETERMINISTIC:
        return int(torch.are_deterministic_algorithms_enabled() and args[0].dim() > 1)
    if packet in INDEXED:
        indices = [one for one in args[1] if one is not None]
        masks = sum(one.dtype in (torch.bool, torch.uint8) for one in indices)
        return masks + sum(not isinstance(one, OnDevice) for one in indices)
    if packet is aten.repeat_interleave and kwargs.get("output_size") is not None:
        return 0
    return WAITS.get(packet, 0)


def _of_copy(packet: Any, args: Any, kwargs: Any) -> int:
    if packet is aten.copy_:
        target, source = isinstance(args[0], OnDevice), isinstance(args[1], OnDevice)
        asynchronous = kwargs.get("non_blocking", False) or (len(args) > 2 and args[2])
    else:
        source, asynchronous = isinstance(args[0], OnDevice), kwargs.get("non_blocking", False)
        device = kwargs.get("device")
        target = source if device is None else _is_gpu(device)
    return int(target != source and not asynchronous)


def _asked_at() -> str:
    """The innermost line of the trainer's code on the stack."""
    for frame in reversed(traceback.extract_stack()):
        if "/trainers/" in frame.filename and "/tests/" not in frame.filename:
            return f"{frame.filename.rpartition('/trainers/')[2]}:{frame.lineno}"
    return "elsewhere"


class _Event:
    """Of `torch.cuda.Event`: what a program waits for."""

    count: Count

    def __init__(self, *_: object, **__: object) -> None: ...
    def record(self, *_: object) -> None: ...
    def wait(self, *_: object) -> None: ...
    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        if self.count.counting:
            self.count.wait("event")


class _Stream:
    def __init__(self, *_: object, **__: object) -> None: ...
    def wait_stream(self, *_: object) -> None: ...
    def wait_event(self, *_: object) -> None: ...
    def record_event(self, *_: object) -> _Event:
        return _Event()

    def synchronize(self) -> None: ...


class _Generator(torch.Generator):
    """On the CPU, whatever it is asked for."""

    def __new__(cls, device: object = None) -> "_Generator":
        return super().__new__(cls)


@contextlib.contextmanager
def fake_cuda() -> Iterator[Count]:
    """Inside it there is one GPU, `cuda:0`, whose tensors are :class:`OnDevice`."""
    count = Count()
    event = type("Event", (_Event,), {"count": count})
    torch._C._ensureCUDADeviceGuardSet()
    patches = {
        "torch.cuda._lazy_init": lambda: None,
        "torch.cuda.is_available": lambda: True,
        "torch.cuda.device_count": lambda: 1,
        "torch.cuda.current_device": lambda: 0,
        "torch.cuda.set_device": lambda *_: None,
        "torch.cuda.is_bf16_supported": lambda *_, **__: True,
        "torch.cuda.synchronize": lambda *_: None,
        "torch.cuda.reset_peak_memory_stats": lambda *_: None,
        "torch.cuda.max_memory_allocated": lambda *_: 0,
        "torch.cuda.Stream": _Stream,
        "torch.cuda.Event": event,
        "torch.cuda.stream": lambda *_: contextlib.nullcontext(),
        "torch.cuda.current_stream": lambda *_: _Stream(),
        "torch.cuda.is_current_stream_capturing": lambda: False,
        "torch.Generator": _Generator,
        "torch.Tensor.pin_memory": lambda tensor, *_: tensor.clone(),
    }
    lifted = torch._C._only_lift_cpu_tensors()
    with contextlib.ExitStack() as stack:
        for name, fake in patches.items():
            stack.enter_context(mock.patch(name, fake))
        torch._C._set_only_lift_cpu_tensors(True)
        stack.callback(torch._C._set_only_lift_cpu_tensors, lifted)
        overwritten = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # else `.data` is set, which forgets the class
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, overwritten)
        stack.enter_context(mock.patch.dict(upsample._KEPT, clear=True))  # nothing made here stays
        _constants.cache_clear()
        stack.callback(_constants.cache_clear)
        stack.enter_context(count)
        yield count
