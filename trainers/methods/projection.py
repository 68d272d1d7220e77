"""Pixels compared by what a small head makes of the decoder's features, in cells of several pixels (methods: sections
25.3 and 25.4)."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from trainers.common.errors import ConfigError
from trainers.common.float32 import exact, without_autocast
from trainers.interface.labels import IGNORE
from trainers.interface.method import AuxiliaryModule, MethodContext, Stateless
from trainers.models.interface import SegmentationModel

PAIRS = 2**24
"""Anchors times keys that are compared at a time: 64 MiB in float32."""


class ProjectionHead(nn.Module):
    """Features (B, N, h, w) -> (B, W, h, w) of norm 1 at every place: two 1x1 convolutions with a ReLU between.

    Args:
        inputs, width: N and W.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Conv2d(inputs, inputs, 1), nn.ReLU(), nn.Conv2d(inputs, width, 1))

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(exact(self.project(features)), dim=1)


class Projected(Stateless):
    """A method with such a head beside its student.

    Args:
        width: of the head's answers.
    """

    def __init__(self, context: MethodContext, width: int) -> None:
        self.context, self.student = context, context.student
        inputs = cast(SegmentationModel, context.student).fused_channels
        self.head = context.build(lambda: ProjectionHead(inputs, width))

    def trained(self) -> dict[str, AuxiliaryModule]:
        return {"projection": AuxiliaryModule(module=self.head)}


def pooled(maps: Tensor, *, side: int, cell: int, method: str) -> Tensor:
    """Maps (B, N, h, w) of crops of ``side`` pixels as means over cells of ``cell`` x ``cell`` pixels: (B, N, n, n), n
    cells lying wholly in the crop.

    Raises:
        ConfigError: the network's stride does not divide a cell.
    """
    stride, count = round(side / maps.shape[-1]), side // cell
    if stride < 1 or cell % stride or -(-side // stride) != maps.shape[-1]:
        raise ConfigError(
            f"method.name: {method} compares features in cells of {cell} pixels, which this network's, of "
            f"{maps.shape[-1]} columns for {side} pixels, do not divide; its stride must be {cell} or a divisor: take "
            "another network, or another method"
        )
    if count == 0:
        raise ConfigError(
            f"data.crop: {side} is smaller than one of the cells of {cell} pixels in which method.name: {method} "
            f"compares features; set {cell} or more"
        )
    return F.avg_pool2d(maps, cell // stride)[..., :count, :count]


def whole_cells(ignore: Tensor, *, cell: int) -> Tensor:
    """Cells (B, n, n) bool without padding, of ``ignore`` (B, H, W), 255 = padding."""
    padding = (ignore == IGNORE).float()[:, None]
    return F.max_pool2d(padding, cell)[:, 0] == 0


def contrast_nll(
    anchors: Tensor, positives: Tensor, labels: Tensor, keys: Tensor, classes: Tensor, *, temperature: float
) -> Tensor:
    """-log of e^(a p / T) over itself and the sum of e^(a k / T) over the keys k of another class, of each anchor a
    with its positive p: (n,). 0 where there is no such key. Slices are computed again in the gradient, so that no
    matrix of all pairs is kept.

    Args:
        anchors, positives: (n, W).
        labels: the anchors' classes (n,). A key of this class is none of an anchor's negatives.
        keys, classes: (K, W) and (K,); 255 is no key.
    """
    size = max(1, PAIRS // max(len(keys), 1))
    parts = [
        checkpoint(_contrast_nll, *slices, keys, classes, temperature, use_reentrant=False, preserve_rng_state=False)
        for slices in zip(anchors.split(size), positives.split(size), labels.split(size), strict=True)
    ]
    return torch.cat(parts)


def _contrast_nll(
    anchors: Tensor, positives: Tensor, labels: Tensor, keys: Tensor, classes: Tensor, temperature: float
) -> Tensor:
    with without_autocast(anchors.device):
        near = (anchors * positives).sum(dim=1, keepdim=True) / temperature
        far = anchors @ keys.T / temperature
        far = far.masked_fill((classes == labels[:, None]) | (classes == IGNORE), -torch.inf)
        nll: Tensor = torch.cat([near, far], dim=1).logsumexp(dim=1) - near[:, 0]
        return nll
