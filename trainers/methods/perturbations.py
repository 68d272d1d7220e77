"""Changes of encoder features under which a prediction shall stay the same (methods: section 9, CCT).

Each takes features z (B, W, h, w); those that follow the prediction also its classes (B, H, W), of which 0 is
background. What is drawn for the whole batch comes from a generator of the step's seed, what is drawn for an image from
its own, so that nothing depends on the number of processes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.common.transfer import to_device
from trainers.methods.regions import boxes_of

SMALLEST_OBJECT = 50
"""Pixels of the smallest region that guided cutout takes for an object. The public code counts the corners of its
outline instead: more than 50."""


def drop_strongest(features: Tensor, rng: np.random.Generator, *, low: float, high: float) -> Tensor:
    """F-Drop: 0 where the mean over channels reaches a share, drawn for the batch from ``low`` to ``high``, of its
    largest in the image."""
    attention = features.detach().mean(dim=1, keepdim=True)
    limit = attention.amax(dim=(2, 3), keepdim=True) * rng.uniform(low, high)
    return features * (attention < limit)


def multiply_noise(features: Tensor, rng: np.random.Generator, *, strength: float) -> Tensor:
    """F-Noise: z + z n, with n ~ U(-strength, strength) of an image's shape, the same for the batch."""
    drawn = rng.uniform(-strength, strength, size=features.shape[1:])
    return features * (1 + to_device(torch.from_numpy(drawn).to(features.dtype), features.device))


def drop_channels(features: Tensor, rngs: Sequence[np.random.Generator], *, probability: float) -> Tensor:
    """DropOut: whole channels of each image to 0, the rest divided by their share."""
    kept = np.stack([rng.random(features.shape[1]) >= probability for rng in rngs])
    share = to_device(torch.from_numpy(kept).to(features.dtype), features.device) / (1 - probability)
    return features * share[:, :, None, None]


def cut_objects(features: Tensor, label: Tensor, rngs: Sequence[np.random.Generator], *, share: float) -> Tensor:
    """G-Cutout: inside the bounding box of every connected region of foreground, 0 in a box of ``share`` of its sides.
    An image without such a region is left whole. Regions are found on the host, which waits for ``label`` where it is
    not there."""
    size = (label.shape[-2], label.shape[-1])
    kept = np.ones((len(label), *size), dtype=bool)
    for image, rng, shown in zip(kept, rngs, (label > 0).cpu().numpy(), strict=True):
        for rows, columns in boxes_of(shown, least=SMALLEST_OBJECT):
            image[_part(rows, rng, share), _part(columns, rng, share)] = False
    return features * _resized(to_device(torch.from_numpy(kept), features.device), features)


def _part(side: slice, rng: np.random.Generator, share: float) -> slice:
    length = side.stop - side.start
    cut = int(length * share)
    first = side.start + int(rng.integers(length - cut + 1))
    return slice(first, first + cut)


def keep_objects(features: Tensor, label: Tensor) -> Tensor:
    """Con-Msk: 0 in the background."""
    return features * _resized(label > 0, features)


def keep_context(features: Tensor, label: Tensor) -> Tensor:
    """Obj-Msk: 0 on objects."""
    return features * _resized(label == 0, features)


def _resized(mask: Tensor, features: Tensor) -> Tensor:
    """(B, H, W) bool as (B, 1, h, w) of ones and zeros: the nearest pixel's."""
    size = (features.shape[-2], features.shape[-1])
    return F.interpolate(mask[:, None].to(features.dtype), size=size, mode="nearest")
