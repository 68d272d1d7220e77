"""A small network with the parts that methods look into, and a context for it, in float64."""

import torch
from torch import nn
from torch.nn import functional as F

from tests.trainers.methods.nets import CLASSES
from trainers.interface.input_spec import InputSpec
from trainers.interface.method import MethodContext
from trainers.models.interface import Encoded, Joined, SegmentationModel

LOW, MIDDLE, HIGH, WIDTH = 4, 3, 5, 6


def block(inputs, outputs, stride=1):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, stride=stride), nn.BatchNorm2d(outputs), nn.Tanh())


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.low, self.middle, self.high = block(3, LOW, stride=2), block(LOW, MIDDLE), block(MIDDLE, HIGH)

    def stages(self, images):
        low = self.low(images)
        middle = self.middle(low)
        return low, middle, self.high(middle)


class DeepNet(SegmentationModel):
    """Features at half the image's size, a decoder whose tail is not linear."""

    fused_channels = WIDTH
    neck_channels = LOW + HIGH
    context_channels = HIGH
    stream_channels = (LOW, HIGH)
    tap_channels = (MIDDLE, HIGH)
    input_spec = InputSpec()

    def __init__(self):
        super().__init__()
        self.backbone = Encoder()
        self.fuse = block(LOW + HIGH, WIDTH)
        self.classify = nn.Conv2d(WIDTH, CLASSES, 1)

    def encode(self, images):
        low, middle, high = self.backbone.stages(images)
        return Encoded((low, high), middle, high)

    def join(self, maps, size):
        return Joined(context=maps[1], neck=torch.cat(maps, dim=1))

    def upsample(self, coarse, size):
        return F.interpolate(coarse, size=size, mode="bilinear", align_corners=True)


def seeded(make, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().double()


def deep_net(seed=0):
    return seeded(DeepNet, seed)


def deep_context(model, *, pairs=False, **changes):
    return MethodContext(
        student=model,
        num_classes=CLASSES,
        peer=lambda: deep_net(7),
        place=lambda module: module.double(),
        pairs=pairs,
        feature_pairs=False,
        **changes,
    )


def shuffled(module, seed):
    """The module with other weights, which its own initialisation would not give."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.5)
    return module


def same_gradients(ours, twins):
    """Every parameter's gradient of module after module, and every buffer."""
    for one, other in zip(ours, twins, strict=True):
        for (name, mine), theirs in zip(one.named_parameters(), other.parameters(), strict=True):
            if theirs.grad is None:
                assert mine.grad is None or not mine.grad.any(), name
            else:
                torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-5, atol=1e-10, msg=lambda m, n=name: n + m)
