"""What the stages of `benchmarks.gpu` measure with: rows that fail alone, a training in the sizes of the run, time and
host waits of its steps."""

import contextlib
import itertools
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A stage and its settings, as `benchmarks.gpu` gives them."""

    stage: str
    cpu: bool
    unimatch: str
    only: list[str]
    nproc: int
    seconds: float

    @property
    def device(self) -> str:
        return "cpu" if self.cpu else "cuda"


def attempt(name: str, work: Callable[[], Row]) -> Row:
    """What ``work`` measures under its name, or why it could not."""
    try:
        return {"name": name, **work()}
    except Exception as error:
        traceback.print_exc()
        return {"name": name, "failed": f"{type(error).__name__}: {str(error)[:300]}"}


def synchronise(asked: Asked) -> None:
    if not asked.cpu:
        import torch

        torch.cuda.synchronize()


def host_waits(asked: Asked, work: Callable[[], object]) -> int | None:
    """How often the host waits for the GPU, by PyTorch's own warnings; None on a CPU."""
    import torch

    if asked.cpu:
        work()
        return None
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(one.message) for one in seen)


def side(asked: Asked, **changes: Any) -> Any:
    """Our side of a comparison, in the sizes of this run."""
    from benchmarks.helpers.step_sides import folder_of_images
    from benchmarks.helpers.step_turns import Side

    sizes = {"crop": 65, "batch": 2, "backbone": "small"} if asked.cpu else {
        "crop": 321, "batch": 8, "backbone": "resnet50"
    }  # fmt: skip
    settings = {"kind": "ours", "precision": "bf16", "workers": 0, "threads": 1, "off": ("deterministic",)}
    return Side(**{**sizes, **settings, "data": str(folder_of_images()), "device": asked.device, **changes})


@contextlib.contextmanager
def training(asked: Asked, **changes: Any) -> Iterator[Any]:
    """A run of :func:`side`."""
    from benchmarks.helpers.step_config import config_of
    from trainers.loop.fit import numerics
    from trainers.loop.run import Run

    config = config_of(side(asked, **changes))
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(numerics(config.precision))
        yield stack.enter_context(contextlib.closing(Run(config, Path(folder))))


def per_step(asked: Asked, run: Any, batches: Iterator[Any], *, steps: int, warm: int = 3) -> Row:
    """Milliseconds a step, of which the host was busy, and the peak of memory."""
    from trainers.loop.resource_meter import forget_peak, peak_mib
    from trainers.loop.step_means import StepMeans

    step_means = StepMeans(run.process)
    for batch in itertools.islice(batches, warm):
        run.train_step(batch, step_means)
    synchronise(asked)
    forget_peak(run.process.device)
    begun = time.perf_counter()
    for batch in itertools.islice(batches, steps):
        run.train_step(batch, step_means)
    host = time.perf_counter() - begun
    synchronise(asked)
    whole = time.perf_counter() - begun
    return {"ms": 1000 * whole / steps, "host_ms": 1000 * host / steps, "peak_mib": peak_mib(run.process.device)}


def cached(run: Any) -> Iterator[Any]:
    """Three batches, made before, over and over."""
    return itertools.cycle(list(itertools.islice(run.loader.epoch(0), 3)))


def device_name(asked: Asked) -> str:
    import torch

    return "CPU" if asked.cpu else torch.cuda.get_device_name()
