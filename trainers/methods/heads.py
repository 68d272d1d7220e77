"""Heads for pixel contrast, and the distance of features to a memory (methods: sections 10 and 14)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.common.float32 import exact, without_autocast


def _mlp(width: int, outputs: int, activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), activation, nn.Conv2d(width, outputs, 1))


class ContrastHeads(nn.Module):
    """Projection and prediction, of maps (B, W, h, w); and two selectors for each class, of rows (n, W): one for what
    the student predicts, one for what the memory holds."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.project = _mlp(width, width, nn.ReLU())
        self.predict = _mlp(width, width, nn.ReLU())
        self.select = nn.ModuleList(_mlp(width, 1, nn.LeakyReLU(0.2)) for _ in range(num_classes))
        self.select_memory = nn.ModuleList(_mlp(width, 1, nn.LeakyReLU(0.2)) for _ in range(num_classes))

    def rate(self, rows: Tensor, label: int, *, memory: bool) -> Tensor:
        """How much each row counts, (n,) in 0 .. 1. Computed in float32 also under autocast: batch norm over several
        processes sends what it has in its own type, float32 of rows but the rows' type of none."""
        selector = (self.select_memory if memory else self.select)[label]
        with without_autocast(rows.device):
            rating: Tensor = selector(exact(rows)[:, :, None, None])
        return rating.flatten().sigmoid()


class RepresentationHead(nn.Module):
    """U2PL's features in which pixels are compared (methods: section 10): (B, N, h, w) -> (B, W, h, w), two 3x3
    convolutions, of whose outputs whole channels may be dropped, and a 1x1 one.

    Args:
        inputs, width: N and W.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.first = _conv_bn_relu(inputs, width)
        self.second = _conv_bn_relu(width, width)
        self.last = nn.Conv2d(width, width, 1)

    def forward(self, features: Tensor, kept: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Args:
        kept: multipliers (B, W, 1, 1) of the channels after either 3x3 convolution; None: all are kept.
        """
        first, second = (1.0, 1.0) if kept is None else kept
        compared: Tensor = self.last(self.second(self.first(features) * first) * second)
        return compared


def _conv_bn_relu(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


def resized_labels(labels: Tensor, like: Tensor) -> Tensor:
    """(B, H, W) as (B, h, w) of features (B, W, h, w): the nearest pixel's."""
    size = (like.shape[-2], like.shape[-1])
    return F.interpolate(labels[:, None].float(), size=size, mode="nearest")[:, 0].long()


def all_rows(features: Tensor) -> Tensor:
    """The vectors (B h w, W) of features (B, W, h, w), pixel by pixel."""
    return features.permute(0, 2, 3, 1).flatten(0, 2)


def rows_by_class(features: Tensor, labels: Tensor, counts: Sequence[int]) -> list[Tensor]:
    """The vectors (n, W) of features (B, W, h, w) that belong to each class, in the order of the pixels.

    Args:
        labels: (B, h, w); of no class where they are as many or more than there are classes.
        counts: n of each class. The host knows them, and waits for nothing here.
    """
    order = labels.flatten().argsort(stable=True)[: sum(counts)]
    return list(all_rows(features)[order].split(list(counts)))


def places_of(masks: Tensor, counts: Sequence[int]) -> list[Tensor]:
    """Where each of the masks (K, n) is True, indices in rising order; ``counts``: how many, which the host knows."""
    return list(torch.nonzero_static(masks, size=sum(counts))[:, 1].split(list(counts)))


def cosines(anchors: Tensor, keys: Tensor) -> Tensor:
    """(A, K) of anchors (A, W) and the keys (A, K, W) of each."""
    with without_autocast(anchors.device):
        return torch.einsum("aw,akw->ak", F.normalize(anchors, dim=1), F.normalize(keys, dim=2))


def weighted_distance(
    rows: Tensor, rating: Tensor, memory: Tensor, memory_rating: Tensor, total: Callable[[Tensor], Tensor]
) -> Tensor:
    """Mean over all pairs of row p and memory vector z of w_p w_z (1 - cos(p, z)), each w its rating over the mean one.

    Rows and memory vectors are those of all processes, of which each brings its own: the mean of the results over
    processes is that. No matrix of pairs is made: with weights of mean 1 it is
    1 - mean_p(w_p p / |p|) . mean_z(w_z z / |z|).
    """
    held = (memory_rating[:, None] * F.normalize(exact(memory), dim=1)).sum(dim=0)
    sums = torch.stack([memory_rating.sum(), rating.sum(), torch.ones_like(rating.sum())])
    middle, (held_rating, rated, processes) = total(torch.cat([held, sums])).tensor_split([len(held)])
    with without_autocast(rows.device):
        distance = 1 - F.normalize(exact(rows), dim=1) @ (middle / held_rating)
    mean: Tensor = processes * (rating * distance).sum() / rated
    return mean
