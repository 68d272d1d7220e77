"""Evaluation on whole images or sliding windows (methods: section 20); each image counted once over all processes."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.common.errors import DataError
from trainers.common.float32 import many_sizes
from trainers.config import TrainConfig
from trainers.data.evaluation import eval_batches
from trainers.data.layout import Item
from trainers.data.read import Reader
from trainers.interface.input_spec import RGB, InputSpec
from trainers.loop.metrics import boundary_counts, confusion_matrix, scores
from trainers.loop.precision import autocast
from trainers.processes.process_group import Process

Watch = Callable[[Tensor, Tensor], None]
"""Called on every process with each batch of its share, in order: predicted and true classes (B, H, W) int64, 255 =
ignore, at the images' own size."""


@torch.no_grad()
def evaluate(
    networks: dict[str, nn.Module],
    items: Sequence[Item],
    *,
    config: TrainConfig,
    reader: Reader,
    num_classes: int,
    process: Process,
    main: str,
    prefix: str,
    watch: Watch | None = None,
    spec: InputSpec = RGB,
) -> dict[str, float]:
    """Scores of every network on ``items``: ``<prefix>/<network>/miou`` each, and all scores of ``main`` under
    ``<prefix>``. The networks are left in eval mode. A compiled network runs as it was before: images have many
    sizes, and each would be compiled.

    Args:
        watch: is given what ``main`` predicts.
        spec: what the networks take.

    Raises:
        DataError: a file cannot be read, or every pixel of all masks is ignored: no score is not a score of 0.
    """
    counts = {
        name: torch.zeros(num_classes, num_classes, dtype=torch.int64, device=process.device) for name in networks
    }
    share = config.evaluation.boundary_width
    boundary = None if share is None else torch.zeros(2, num_classes, dtype=torch.int64, device=process.device)
    for network in networks.values():
        network.eval()
    windows = config.evaluation.mode == "sliding"
    with nullcontext() if windows else many_sizes():
        for images, masks in eval_batches(
            items, reader=reader, device=process.device, rank=process.rank, world=process.world, spec=spec
        ):
            for name, network in networks.items():
                prediction = class_scores(network, images, config=config, num_classes=num_classes).max(dim=1).indices
                prediction = brought_to(prediction, masks.shape[-2:])
                counts[name] += confusion_matrix(prediction, masks, num_classes)
                if name == main and watch is not None:
                    watch(prediction, masks)
                if name == main and boundary is not None and share is not None:
                    boundary += boundary_counts(prediction, masks, num_classes, share=share)
    if boundary is not None:
        process.sum_(boundary)
    found: dict[str, float] = {}
    for name, matrix in counts.items():
        process.sum_(matrix)
        if not bool(matrix.any()):
            key = "data.val" if prefix.startswith("final") else "data.holdout"
            raise DataError(
                f"{key}: every pixel of its {len(items)} masks is 255 = ignore, there is nothing to score; mend the "
                "masks, or say in data.label_map what their values mean"
            )
        band = boundary if name == main else None
        one = scores(matrix, absent=config.evaluation.absent, prefix=prefix, boundary=band)
        found[f"{prefix}/{name}/miou"] = one[f"{prefix}/miou"]
        if name == main:
            found |= one
    return found


def class_scores(network: nn.Module, images: Tensor, *, config: TrainConfig, num_classes: int) -> Tensor:
    """What the class of every pixel is the largest of, (B, C, h, w), as the config evaluates: logits of whole images,
    or sums of softmax over windows; h x w is the images' size times `evaluation.scale`.

    Args:
        images: (B, bands, H, W) normalised.
    """
    with autocast(images.device.type, config.precision.amp):
        seen = rescaled(images, config.evaluation.scale)
        if config.evaluation.mode == "sliding":
            return window_sums(network, seen, window=config.data.crop, num_classes=num_classes)
        logits: Tensor = network.forward(seen)
        return logits


def rescaled(images: Tensor, scale: float) -> Tensor:
    """Images (B, 3, H, W) with sides ``scale`` times as long, rounded; bilinear, antialiased."""
    if scale == 1:
        return images
    size = [max(1, round(side * scale)) for side in images.shape[-2:]]
    return F.interpolate(images, size=size, mode="bilinear", antialias=True)


def brought_to(classes: Tensor, size: torch.Size) -> Tensor:
    """Classes (B, h, w) int64 at another size, each pixel that of the nearest one."""
    if classes.shape[-2:] == size:
        return classes
    rows, columns = (
        ((2 * torch.arange(new, device=classes.device) + 1) * old // (2 * new)).clamp(max=old - 1)
        for new, old in zip(size, classes.shape[-2:], strict=True)
    )
    return classes[:, rows][:, :, columns]


def window_starts(length: int, *, window: int) -> list[int]:
    """Where windows begin along one side: every int(2/3 window) pixels, the last one shifted inwards."""
    if length <= window:
        return [0]
    starts = list(range(0, length - window, int(window * 2 / 3)))
    return [*starts, length - window]


def predict_sliding(network: nn.Module, images: Tensor, *, window: int, num_classes: int) -> Tensor:
    """Classes (B, H, W): the largest of :func:`window_sums` of images (B, 3, H, W)."""
    return window_sums(network, images, window=window, num_classes=num_classes).max(dim=1).indices


def window_sums(network: nn.Module, images: Tensor, *, window: int, num_classes: int) -> Tensor:
    """The sum of softmax over all windows of images (B, 3, H, W), (B, C, H, W) float32."""
    count, _, height, width = images.shape
    total = torch.zeros(count, num_classes, height, width, device=images.device)
    for top in window_starts(height, window=window):
        for left in window_starts(width, window=window):
            rows, columns = slice(top, top + window), slice(left, left + window)
            logits: Tensor = network.forward(images[..., rows, columns])
            total[..., rows, columns] += logits.float().softmax(dim=1)
    return total
