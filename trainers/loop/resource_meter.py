"""What a training takes: the time of a step, and the memory at its peak."""

import resource
import sys
import time
from pathlib import Path

import torch

MIB = 1024**2


class StepClock:
    """Wall time of an epoch's training steps, waiting for batches included.

    The first step, in which a loader's workers and a device's kernels start, is left out of the mean where others
    follow. On a GPU the clock waits for the device twice an epoch: after the first step and after the last.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._steps = 0
        self._begun = self._timed_from = time.perf_counter()

    def step(self) -> None:
        """A step has been issued."""
        self._steps += 1
        if self._steps == 1:
            self._timed_from = self._now()

    def mean_ms(self) -> float:
        """Milliseconds a step until now; NaN before the first step."""
        now = self._now()
        if self._steps > 1:
            return 1000 * (now - self._timed_from) / (self._steps - 1)
        return 1000 * (self._timed_from - self._begun) if self._steps else float("nan")

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def forget_peak(device: torch.device) -> None:
    """Count a GPU's peak from here on; a process's own peak counts from its start."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_mib(device: torch.device) -> float:
    """MiB at the peak. On a GPU: what tensors of this process took there since :func:`forget_peak`
    (`torch.cuda.max_memory_allocated`). On a CPU: resident memory of this whole process since its start, its libraries
    with it, the loader's workers not."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB
    return _peak_rss_bytes() / MIB


def _peak_rss_bytes() -> float:
    """Linux's VmHWM, where there is one: unlike getrusage's figure it does not begin with that of the process that
    started this one."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * float(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else 1024 * peak)
