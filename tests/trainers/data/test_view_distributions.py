"""Views against the usual Pillow pipeline of the field, drawn by its own random numbers: the same distributions."""

import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps
from torchvision import transforms

from trainers.data.strong import Strong, strong_views, table
from trainers.data.views import Geometry, unit
from trainers.data.views_config import ViewsConfig

CROP = 40
VIEWS = 500


def photograph():
    """A smooth coloured image with edges, (3, 48, 64) uint8."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((64, 48), Image.Resampling.BICUBIC))


def pillow_view(image):
    """Resize by a factor of the long side from 0.5 to 2, pad, crop, mirror; jitter, grey, blur: weak and strong."""
    longest = random.randint(32, 128)
    height, width = int(48 * longest / 64 + 0.5), longest
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    image = ImageOps.expand(image, (0, 0, max(0, CROP - width), max(0, CROP - height)))
    left, top = random.randint(0, image.width - CROP), random.randint(0, image.height - CROP)
    image = image.crop((left, top, left + CROP, top + CROP))
    weak = ImageOps.mirror(image) if random.random() < 0.5 else image
    strong = weak
    if random.random() < 0.8:
        strong = transforms.ColorJitter(0.5, 0.5, 0.5, 0.25)(strong)
    strong = transforms.RandomGrayscale(p=0.2)(strong)
    if random.random() < 0.5:
        strong = strong.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))
    return [np.asarray(one, dtype=np.float32).transpose(2, 0, 1) / 255 for one in (weak, strong)]


@pytest.fixture(scope="module")
def views():
    """Weak and strong, (VIEWS, 3, CROP, CROP) each: ours, then Pillow's."""
    pixels = photograph()
    image, config = torch.from_numpy(pixels.transpose(2, 0, 1).copy()), ViewsConfig()
    rng = np.random.default_rng(0)
    weak, drawn = [], []
    for _ in range(VIEWS):
        weak.append(unit(Geometry.draw(rng, (48, 64), crop=CROP, views=config).pixels(image)))
        drawn.append(Strong.draw(rng, views=config))
    ours = torch.stack(weak)
    random.seed(0)
    torch.manual_seed(0)
    theirs = [pillow_view(Image.fromarray(pixels)) for _ in range(VIEWS)]
    return (
        (ours.numpy(), strong_views(ours, table(drawn), largest_sigma=2.0).numpy()),
        tuple(np.stack(column) for column in zip(*theirs, strict=True)),
    )


def statistics_of(batch):
    """Per view: mean and deviation of each channel, colourfulness, and contrast between neighbours."""
    flat = batch.reshape(len(batch), 3, -1)
    return {
        "mean": flat.mean(2),
        "deviation": flat.std(2),
        "colour": (batch.max(1) - batch.min(1)).mean((1, 2))[:, None],
        "edges": np.abs(np.diff(batch, axis=3)).mean((1, 2, 3))[:, None],
    }


@pytest.mark.parametrize("which", [0, 1], ids=["weak", "strong"])
def test_moments_over_views_are_those_of_the_pillow_pipeline(views, which):
    ours, theirs = (statistics_of(side[which]) for side in views)
    for name, values in ours.items():
        others = theirs[name]
        error = np.sqrt((values.var(0) + others.var(0)) / VIEWS)
        assert (np.abs(values.mean(0) - others.mean(0)) < 4 * error + 0.004).all(), name
        assert (np.abs(np.log(values.std(0) / others.std(0))) < 0.15).all(), name


@pytest.mark.parametrize("which", [0, 1], ids=["weak", "strong"])
def test_histograms_over_views_are_those_of_the_pillow_pipeline(views, which):
    """Kolmogorov-Smirnov on one number a view, so that numbers are independent; at 0.1 % each."""
    ours, theirs = (statistics_of(side[which]) for side in views)
    for name, values in ours.items():
        for mine, other in zip(values.T, theirs[name].T, strict=True):
            grid = np.sort(np.concatenate([mine, other]))
            gaps = [np.searchsorted(np.sort(one), grid, "right") / VIEWS for one in (mine, other)]
            assert np.abs(gaps[0] - gaps[1]).max() < 1.95 * np.sqrt(2 / VIEWS), name
