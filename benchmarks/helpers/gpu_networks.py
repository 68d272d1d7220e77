"""The stage `networks` of `benchmarks.gpu`: UniMatch with the inter-pixel loss trains each kind of network for a
minute, from random weights on `digits`."""

import contextlib
import itertools
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.helpers.gpu_measure import Asked, Row, attempt, synchronise

SLIM: dict[str, Any] = {"decoder_intermediate_channels": [16, 16, 32, 32], "decoder_fusion_channels": 32}
NETWORKS: dict[str, dict[str, Any]] = {
    "DeepLabV3+, ResNet-50": {"backbone": "resnet50"},
    "smp Unet, tu-tf_efficientnet_lite0": {
        "name": "smp",
        "architecture": "unet",
        "encoder": "tu-tf_efficientnet_lite0",
    },
    "smp DPT, tu-vit_small_patch16_224": {
        "name": "smp",
        "architecture": "dpt",
        "encoder": "tu-vit_small_patch16_224",
    },
    "UniMatch V2's DPT, DINOv2 small": {"name": "dinov2_dpt", "size": "small"},
}
ON_CPU: dict[str, dict[str, Any]] = {
    "DeepLabV3+, small": {"backbone": "small"},
    "smp Unet, tu-test_efficientnet": {"name": "smp", "architecture": "unet", "encoder": "tu-test_efficientnet"},
    "smp DPT, tu-test_vit": {"name": "smp", "architecture": "dpt", "encoder": "tu-test_vit", "options": SLIM},
    "UniMatch V2's DPT, DINOv2 tiny": {"name": "dinov2_dpt", "size": "tiny"},
}
CROP, BATCH = 224, 8
"""224 is a multiple of 14, 16 and 32."""
SMALL_CROP, SMALL_BATCH = {"dinov2_dpt": 28}, 2
"""In the rehearsal; 32 pixels for the other networks."""
WARM, FEWEST = 3, 2
"""Steps before the clock starts, and steps that are timed at least; the rehearsal has no more than these."""
SHARE = 0.8
"""Of a network's part of the stage's time; the rest is for building, warming up and scoring it."""
BETWEEN = 10
"""Steps from one look at the clock to the next: the host has to wait for the device then."""


def networks(asked: Asked) -> Iterator[Row]:
    """An equal part of the stage's time for each."""
    kinds = ON_CPU if asked.cpu else NETWORKS
    seconds = 0.0 if asked.cpu else SHARE * asked.seconds / len(kinds)
    for name, model in kinds.items():
        yield attempt(name, lambda model=model: _trained(asked, model, seconds))  # type: ignore[misc]


def _config(asked: Asked, model: dict[str, Any]) -> Any:
    from tests.trainers.methods.test_every_method import config

    small = {"crop": SMALL_CROP.get(model.get("name", ""), 32), "batch_size": SMALL_BATCH}
    return config(
        "unimatch",
        data=small if asked.cpu else {"crop": CROP, "batch_size": BATCH},
        model={"backbone": "small", "weights": "none", **model},
        optim={"lr": 0.001 if "name" in model else 0.05},
        precision={"amp": "bf16", "device": asked.device, "deterministic": False},
        schedule={"epochs": 1, "steps_per_epoch": 10**5},
    )


def _trained(asked: Asked, model: dict[str, Any], seconds: float) -> Row:
    from trainers.loop.epoch_scores import evaluate_epoch
    from trainers.loop.fit import numerics
    from trainers.loop.resource_meter import forget_peak, peak_mib
    from trainers.loop.run import Run
    from trainers.loop.step_means import StepMeans

    made = _config(asked, model)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(numerics(made.precision))
        run = stack.enter_context(contextlib.closing(Run(made, Path(folder))))
        forget_peak(run.process.device)
        batches = run.loader.epoch(0)
        stack.callback(batches.close)  # type: ignore[attr-defined]
        begin, rest = StepMeans(run.process), StepMeans(run.process)
        for batch in itertools.islice(batches, WARM):
            run.train_step(batch, begin)
        synchronise(asked)
        steps, begun = 0, time.perf_counter()
        while steps < FEWEST or time.perf_counter() - begun < seconds:
            run.train_step(next(batches), rest)
            steps += 1
            if steps % BETWEEN == 0:
                synchronise(asked)
        synchronise(asked)
        spent = time.perf_counter() - begun
        run.run_dir.mkdir(exist_ok=True)
        before, after = begin.means(), rest.means()
        scores = evaluate_epoch(run, 1)
        peak = peak_mib(run.process.device)
    losses = {name: value for name, value in after.items() if name.startswith("train/loss")}
    if not all(map(math.isfinite, losses.values())):
        raise RuntimeError(f"losses are not finite: {losses}")
    return {
        "steps": steps,
        "ms": 1000 * spent / steps,
        "images_s": 2 * made.data.batch_size * steps / spent,
        "peak_mib": peak,
        "loss": f"{before['train/loss']:.3g}, {after['train/loss']:.3g}",
        "interpixel": after["train/loss/interpixel"],
        "miou": scores["val/miou"],
    }
