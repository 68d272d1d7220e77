"""A small network with the real one's interface, a batch for it, and a step, in float64."""

import torch
from torch import nn

from trainers.interface.batch import Labelled, SemiBatch, Unlabelled, View
from trainers.interface.method import MethodContext
from trainers.interface.step import Progress, Step
from trainers.losses.interpixel_config import InterPixelConfig

CLASSES, LOW, HIGH, SIDE = 3, 4, 5, 6


class Net(nn.Module):
    """Two feature maps and a classifier on both, with batch norm; the interface of the real model."""

    stream_channels = (LOW, HIGH)

    def __init__(self):
        super().__init__()
        self.low = nn.Sequential(nn.Conv2d(3, LOW, 3, padding=1), nn.BatchNorm2d(LOW), nn.ReLU())
        self.high = nn.Sequential(nn.Conv2d(LOW, HIGH, 3, padding=1), nn.BatchNorm2d(HIGH), nn.ReLU())
        self.classify = nn.Conv2d(LOW + HIGH, CLASSES, 1)

    @property
    def backbone(self):
        return self.low

    def forward(self, images, dropout=None, plain=True):
        low = self.low(images)
        high = self.high(low)
        whole = torch.cat([low, high], dim=1)
        if dropout is None:
            return self.classify(whole)
        dropped = torch.cat([low * dropout[0].double(), high * dropout[1].double()], dim=1)
        if not plain:
            return self.classify(dropped)
        return self.classify(torch.cat([whole, dropped])).chunk(2)


def net(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Net().double()


def swap(tensor):
    """Each of two images at the place of the other."""
    return tensor[[1, 0]]


def put(one, other, where):
    """``other`` at the pixels ``where`` of two images (2, H, W), one by one."""
    result = one.clone()
    for image, row, column in where.nonzero().tolist():
        result[image, ..., row, column] = other[image, ..., row, column]
    return result


def images(generator, count=2):
    return torch.randn(count, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)


def batch(strong, *, partner=True, seed=0, boxes=None):
    generator = torch.Generator().manual_seed(seed)

    def view():
        ignore = torch.zeros(2, SIDE, SIDE, dtype=torch.int64)
        ignore[0, :, -1 - int(torch.randint(0, 2, (), generator=generator)) :] = 255
        return View(weak=images(generator), strong=tuple(images(generator) for _ in range(strong)), ignore=ignore)

    mask = torch.randint(0, CLASSES, (2, SIDE, SIDE), generator=generator)
    mask[0, :2] = 255
    boxes = tuple(
        torch.rand(2, SIDE, SIDE, generator=generator) < 0.4 for _ in range(strong if boxes is None else boxes)
    )
    return SemiBatch(
        labelled=Labelled(image=images(generator), mask=mask),
        unlabelled=Unlabelled(view=view(), boxes=boxes, partner=view() if partner else None),
        seed=11,
    )


def count_or_one(count):
    return count.clamp(min=1)


def context(model, interpixel=None):
    interpixel = interpixel or InterPixelConfig()
    return MethodContext(
        student=model,
        num_classes=CLASSES,
        peer=lambda: net(7),
        place=lambda module: module.double(),
        pairs=interpixel.alpha > 0,
        feature_pairs=interpixel.views == "s1s2fp",
    )


def step_of(model, data, *, step=3):
    progress = Progress(step=step, steps_per_epoch=2, total_steps=10)
    return Step(student=model, batch=data, denominator=count_or_one, progress=progress)
