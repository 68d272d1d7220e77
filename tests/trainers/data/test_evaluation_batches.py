"""Images that go through a network together are scored as each on its own."""

import numpy as np
import torch
from PIL import Image

from trainers.data import evaluation
from trainers.data.layout import Item
from trainers.data.read import Reader
from trainers.loop.evaluate import confusion_matrix

SIZES = [(20, 24), (20, 24), (24, 20), (20, 24), (16, 16), (16, 16), (16, 16)]


def items(folder):
    rng = np.random.default_rng(0)
    made = []
    for number, size in enumerate(SIZES):
        image, mask = folder / f"{number}.png", folder / f"mask{number}.png"
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(image)
        Image.fromarray(rng.choice([0, 1, 2, 255], size).astype(np.uint8)).save(mask)
        made.append(Item(image=image, mask=mask))
    return made


def batches(folder):
    return list(evaluation.eval_batches(items(folder), reader=Reader(3), device=torch.device("cpu")))


def test_neighbours_of_equal_size_come_together_in_their_order(tmp_path):
    assert [tuple(masks.shape) for _, masks in batches(tmp_path)] == [
        (2, 20, 24),
        (1, 24, 20),
        (1, 20, 24),
        (3, 16, 16),
    ]


def test_together_they_hold_no_more_pixels_than_allowed(tmp_path, monkeypatch):
    monkeypatch.setitem(evaluation.PIXELS, "cpu", 600)
    assert [len(masks) for _, masks in batches(tmp_path)] == [1, 1, 1, 1, 2, 1]


def test_every_image_and_mask_is_the_one_it_is_alone(tmp_path):
    together = [pair for images, masks in batches(tmp_path) for pair in zip(images, masks, strict=True)]
    for item, (image, mask) in zip(items(tmp_path), together, strict=True):
        ((alone, own),) = evaluation.eval_batches([item], reader=Reader(3), device=torch.device("cpu"))
        assert torch.equal(image, alone[0])
        assert torch.equal(mask, own[0])


def test_counts_are_those_of_a_loop_over_pixels(tmp_path):
    for images, masks in batches(tmp_path):
        prediction = images.argmax(dim=1)
        counts = torch.zeros(3, 3, dtype=torch.int64)
        for true, seen in zip(masks.flatten().tolist(), prediction.flatten().tolist(), strict=True):
            if true != 255:
                counts[true, seen] += 1
        assert torch.equal(confusion_matrix(prediction, masks, 3), counts)
