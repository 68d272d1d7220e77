"""Which classes of an image are to be shown more often."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def by_need(confidence: Tensor, *, power: float = 1.0, never: tuple[int, ...] = ()) -> NDArray[np.float64]:
    """Probabilities of classes to be shown more often: softmax of (1 - confidence)^power (C,), 0 for those of
    ``never``."""
    need = (1 - confidence.double()).clamp(min=0) ** power
    need[[label for label in never if label < len(need)]] = -torch.inf
    probability: NDArray[np.float64] = need.softmax(dim=0).cpu().numpy()
    total: np.float64 = probability.sum()
    return np.divide(probability, total)
