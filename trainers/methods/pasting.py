"""Objects of one image pasted into another, at another size and place, and which class they are of."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


def by_need(confidence: Tensor) -> NDArray[np.float64]:
    """Probabilities of classes to be shown more often: softmax of 1 - confidence (C,)."""
    probability: NDArray[np.float64] = (1 - confidence.double()).softmax(dim=0).cpu().numpy()
    total: np.float64 = probability.sum()
    return np.divide(probability, total)


def moved_object(
    image: Tensor, where: Tensor, rng: np.random.Generator, *, scale: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """An image (3, H, W) and the pixels of an object in it (H, W) bool, both resized by a factor drawn from ``scale``
    and put, or cut, at random into H x W; False outside."""
    size = (where.shape[-2], where.shape[-1])
    factor = rng.uniform(*scale)
    resized = [max(1, round(side * factor)) for side in size]
    scaled = F.interpolate(image[None], size=resized, mode="bilinear", align_corners=False)[0]
    shown = F.interpolate(where[None, None].to(image.dtype), size=resized, mode="nearest")[0, 0] > 0
    moved, mask = torch.zeros_like(image), torch.zeros_like(where)
    into, out_of = [], []
    for side, length in zip(size, resized, strict=True):
        place = int(rng.integers(abs(side - length) + 1))
        whole = slice(0, min(side, length))
        shifted = slice(place, place + min(side, length))
        into.append(shifted if length <= side else whole)
        out_of.append(whole if length <= side else shifted)
    moved[:, into[0], into[1]] = scaled[:, out_of[0], out_of[1]]
    mask[into[0], into[1]] = shown[out_of[0], out_of[1]]
    return moved, mask
