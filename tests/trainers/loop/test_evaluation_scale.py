"""`evaluation.scale`: images are predicted smaller, and scored at their own size."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.trainers.runs import tiny
from trainers.data.layout import Item
from trainers.data.read import Reader
from trainers.loop.class_scores import brought_to, rescaled
from trainers.loop.evaluate import evaluate
from trainers.loop.process_group import current


@pytest.mark.parametrize(("size", "scale"), [((20, 24), 0.5), ((13, 17), 0.5), ((30, 18), 0.7)])
def test_images_are_made_smaller_as_pillow_makes_them(size, scale):
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    small = (round(size[1] * scale), round(size[0] * scale))
    for ours, channel in zip(rescaled(image, scale)[0], image[0], strict=True):
        theirs = np.asarray(Image.fromarray(channel.numpy()).resize(small, Image.Resampling.BILINEAR))
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)


@pytest.mark.parametrize(("old", "new"), [((3, 4), (6, 8)), ((3, 4), (7, 5)), ((5, 5), (5, 9))])
def test_each_pixel_takes_the_class_of_the_nearest_one(old, new):
    classes = torch.arange(old[0] * old[1]).view(1, *old)
    found = brought_to(classes, torch.Size(new))
    for i in range(new[0]):
        for j in range(new[1]):
            row = min(range(old[0]), key=lambda r: (abs((r + 0.5) / old[0] - (i + 0.5) / new[0]), -r))
            column = min(range(old[1]), key=lambda c: (abs((c + 0.5) / old[1] - (j + 0.5) / new[1]), -c))
            assert found[0, i, j] == classes[0, row, column]


class Brightest(nn.Module):
    """Says for each pixel which channel is largest, and keeps the size that it saw."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, images):
        self.sizes.append(tuple(images.shape[-2:]))
        return images


def blocks(folder):
    """An image of 4 x 4 blocks of one colour each, and its mask."""
    mask = np.random.default_rng(0).integers(0, 3, (8, 10)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    Image.fromarray((np.eye(3)[mask] * 255).astype(np.uint8)).save(folder / "image.png")
    Image.fromarray(mask).save(folder / "mask.png")
    return [Item(image=folder / "image.png", mask=folder / "mask.png")]


@pytest.mark.parametrize(("mode", "sizes"), [("whole", {(16, 20)}), ("sliding", {(16, 16)})])
def test_the_network_sees_the_smaller_image_and_the_score_is_of_the_whole_one(tmp_path, mode, sizes):
    network, config = Brightest(), tiny(evaluation={"mode": mode, "scale": 0.5}, data={"crop": 16})
    found = evaluate(
        {"student": network},
        blocks(tmp_path),
        config=config,
        reader=Reader(3),
        num_classes=3,
        process=current("cpu"),
        main="student",
        prefix="val",
    )
    assert set(network.sizes) == sizes
    assert found["val/miou"] == pytest.approx(100, abs=1e-6)
