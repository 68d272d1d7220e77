"""The stage `kernels` of `benchmarks.gpu`: what single operators take, against what the device moves at most."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.helpers.gpu_measure import Asked, attempt, synchronise
from benchmarks.helpers.step_roofline import measure

CLASSES, BATCH = 21, 8


def rows(asked: Asked) -> Iterator[dict[str, Any]]:
    """Measured rates; the inter-pixel loss forward and backward, and its share of the copy rate; the confusion matrix
    of a batch of predictions, deterministic or not."""
    rates = measure(asked.device, precision="fp32" if asked.cpu else "bf16")
    yield {"name": "rates", "tflops": rates.flops / 1e12, "copy_gb_s": rates.bytes / 1e9}
    for crop in (33, 65) if asked.cpu else (321, 513, 801):
        for kind in (torch.float32, torch.bfloat16):

            def loss(crop: int = crop, kind: torch.dtype = kind) -> dict[str, Any]:
                work, moved = _pixel_kl(crop, kind, asked.device)
                seconds = _median(work, asked)
                return {"ms": 1000 * seconds, "of_copy_rate": moved / seconds / rates.bytes}

            yield attempt(f"inter-pixel KL, crop {crop}, {str(kind).removeprefix('torch.')}", loss)
    for deterministic in (False, True):

        def matrix(deterministic: bool = deterministic) -> dict[str, Any]:
            torch.use_deterministic_algorithms(deterministic)
            try:
                return {"ms": 1000 * _median(_confusion(asked), asked)}
            finally:
                torch.use_deterministic_algorithms(False)

        yield attempt(f"confusion matrix, {'deterministic' if deterministic else 'not deterministic'}", matrix)


def _pixel_kl(crop: int, kind: torch.dtype, device: str) -> tuple[Callable[[], None], float]:
    """Forward and backward of the loss, and the bytes that these must move."""
    from trainers.losses.pixel_softmax import PixelKl

    teacher, student = torch.randn(2, BATCH, CLASSES, crop * crop, device=device, dtype=kind)
    student.requires_grad_()
    mask = torch.ones(BATCH, crop * crop, dtype=torch.bool, device=device)

    def passes() -> None:
        student.grad = None
        PixelKl.apply(student, teacher, mask, mask, 4.0).sum().backward()

    return passes, 5.0 * student.numel() * student.element_size()


def _confusion(asked: Asked) -> Callable[[], Any]:
    """Three quarters of the pixels are of one class, as on VOC."""
    from trainers.loop.evaluate import confusion_matrix

    generator = torch.Generator().manual_seed(0)
    pixels = 2**16 if asked.cpu else 2**22
    most = torch.rand(pixels, generator=generator) < 0.73
    labels = torch.where(most, 0, torch.randint(0, CLASSES, (pixels,), generator=generator)).to(asked.device)
    return lambda: confusion_matrix(labels, labels, CLASSES)


def _median(work: Callable[[], Any], asked: Asked) -> float:
    """Seconds of one call, after five."""
    times: list[float] = []
    for _ in range(8 if asked.cpu else 20):
        synchronise(asked)
        begun = time.perf_counter()
        work()
        synchronise(asked)
        times.append(time.perf_counter() - begun)
    return sorted(times[5:])[len(times[5:]) // 2]
