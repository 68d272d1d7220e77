"""One side of a timing of steps, and whose turn it is."""

import json
import sys
import time
from dataclasses import dataclass

WARM_UP = 2
"""Steps before the first answer."""


AFTER_PAUSE = 2
"""Steps after each pause that are not timed: loaders have batches in store by then."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """What runs.

    Args:
        kind: `ours` (with its loader), `cached` (ours, on batches that were made before), `bare` (forward and backward
            of the same network on the same images, no losses, no optimiser), `unimatch` or `unimatch_bf16`.
        off: names in `step_plain.OPTIMISATIONS` that are switched off.
        parts: time every part; the steps then take longer.
        cores: 0 leaves the process where it is; else it is kept on as many.
    """

    kind: str
    data: str
    crop: int
    batch: int
    backbone: str
    device: str = "cpu"
    precision: str = "fp32"
    method: str = "unimatch"
    interpixel: bool = False
    partner: str = "second_view"
    workers: int = 1
    threads: int = 2
    cores: int = 0
    unimatch: str = ""
    compile: str = "off"
    batch_norm: str = "global"
    classes: int = 21
    off: tuple[str, ...] = ()
    parts: bool = False


class Turns:
    """The conversation with whoever compares."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._left = WARM_UP
        self._times: list[float] = []
        self._last = time.perf_counter()
        self._first = True
        self._cpu = 0.0

    def step(self, parts: dict[str, float] | None = None) -> bool:
        """A step is done. False: stop."""
        self._wait()
        now = time.perf_counter()
        self._times.append(now - self._last)
        self._left -= 1
        if len(self._times) == AFTER_PAUSE:
            self._cpu = cpu_seconds()
            if parts is not None:
                parts.clear()
        if self._left == 0:
            answer = {
                "seconds": self._times[AFTER_PAUSE:],
                "cpu_seconds": cpu_seconds() - self._cpu,
                "parts": parts or {},
                "memory_mib": self._memory(),
            }
            sys.stdout.write(json.dumps({} if self._first else answer) + "\n")
            sys.stdout.flush()
            self._first, self._times = False, []
            line = sys.stdin.readline().strip()
            if line in ("", "stop"):
                return False
            self._left = int(line) + AFTER_PAUSE
            now = time.perf_counter()
        self._last = now
        return True

    def _wait(self) -> None:
        if self._device == "cuda":
            import torch

            torch.cuda.synchronize()

    def _memory(self) -> float:
        import torch

        from trainers.loop.resource_meter import peak_mib

        return peak_mib(torch.device(self._device))


def cpu_seconds() -> float:
    """Processor time of this process and its loader workers: what a step costs a machine that is shared."""
    import psutil

    own = psutil.Process()
    return float(sum(sum(one.cpu_times()[:2]) for one in (own, *own.children(recursive=True))))
