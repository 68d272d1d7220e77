"""What a network says of whole images of any size: at once, rescaled or in sliding windows (methods: section 20)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.config import TrainConfig
from trainers.loop.precision import autocast


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
