"""GCT's flaw detector, and the flaws that it learns to see (methods: section 9)."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as ops

from trainers.losses.functional import IGNORE


class FlawDetector(nn.Module):
    """Where a prediction is wrong: images (B, 3, H, W) and class probabilities (B, C, H, W) -> flaws (B, H, W), about 0
    where it is right and 1 where it is wrong.

    Four 3x3 convolutions of stride 2. Group norm, where PixelSSL has batch and instance norm half and half: an image's
    flaws then do not depend on the others.
    """

    def __init__(self, num_classes: int, *, width: int) -> None:
        super().__init__()
        widths = [3 + num_classes, width, 2 * width, 4 * width, 8 * width]
        self.encode = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(inputs, outputs, 3, stride=2, padding=1),
                    nn.GroupNorm(min(8, outputs), outputs),
                    nn.LeakyReLU(0.2),
                )
                for inputs, outputs in pairwise(widths)
            )
        )
        self.classify = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, images: Tensor, probabilities: Tensor) -> Tensor:
        size = (images.shape[-2], images.shape[-1])
        coarse = self.classify(self.encode(torch.cat([images, probabilities.to(images.dtype)], dim=1)))
        return F.interpolate(coarse, size=size, mode="bilinear", align_corners=True)[:, 0]


def true_flaws(probabilities: Tensor, labels: Tensor, *, scale: float, dilations: int) -> Tensor:
    """What the detector shall say (B, H, W): mu sum_c |p_c - [y = c]| blurred, then nu times dilated by a pixel and
    blurred; 0 where the label (B, H, W) is 255.

    Args:
        scale: mu; with 1/2 a pixel's part is between 0 and 1.
        dilations: nu.
    """
    known = labels != IGNORE
    right = torch.where(known, labels, torch.zeros_like(labels))
    one_hot = torch.zeros_like(probabilities).scatter_(1, right[:, None], 1.0)
    wrong = scale * (probabilities - one_hot).abs().sum(dim=1) * known
    kernel = 2 * max(1, min(wrong.shape[1:]) // 16) + 1
    flaws: Tensor = ops.gaussian_blur(wrong[:, None], [kernel, kernel], [kernel / 6, kernel / 6])
    for _ in range(dilations):
        flaws = F.max_pool2d(flaws, 3, stride=1, padding=1)
        flaws = ops.gaussian_blur(flaws, [kernel, kernel], [kernel / 6, kernel / 6])
    return flaws[:, 0]
