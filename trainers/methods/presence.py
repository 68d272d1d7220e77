"""Which classes an image shows: a classifier on a network's encoder, and a network that gives no pixel to the others
(s4GAN's multi-label branch; methods: section 25.6)."""

import torch
from torch import Tensor, nn

from trainers.common.float32 import exact
from trainers.losses.functional import class_sizes
from trainers.models.interface import SegmentationModel


class PresenceClassifier(nn.Module):
    """Images (B, bands, H, W) -> logits (B, C), above 0 where an image shows a class: a network's encoder, the mean of
    its last map, a linear layer.

    Args:
        network: of it only the encoder stays; the rest is thrown away.
        classify: from the width of the encoder's last map to C.
    """

    def __init__(self, network: SegmentationModel, classify: nn.Module) -> None:
        super().__init__()
        for name, part in list(network.named_children()):
            if part is not network.backbone and next(part.parameters(), None) is not None:
                setattr(network, name, nn.Identity())
        self.network, self.classify = network, classify

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classify(exact(self.network.encode(images).high).mean(dim=(2, 3)))
        return logits


class Gated(nn.Module):
    """A network's logits with those of absent classes at minus infinity: where the classifier gives a class of an image
    less than ``thresh``. An image of which it denies every class keeps all."""

    def __init__(self, network: nn.Module, classifier: nn.Module, *, thresh: float) -> None:
        super().__init__()
        self.network, self.classifier, self.thresh = network, classifier, thresh

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        present = exact(self.classifier(images)).sigmoid() >= self.thresh
        present = present | ~present.any(dim=1, keepdim=True)
        return logits.masked_fill(~present[:, :, None, None], -torch.inf)


def present_classes(labels: Tensor, num_classes: int) -> Tensor:
    """Which classes labels (B, H, W) show, (B, C) bool; 255 is none."""
    return class_sizes(labels, num_classes) > 0
