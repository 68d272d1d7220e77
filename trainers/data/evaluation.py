"""Images to evaluate on, at their own size, each exactly once over all processes."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from trainers.data.layout import Item
from trainers.data.read import Reader
from trainers.data.views import normalise, unit
from trainers.interface.input_spec import RGB, InputSpec

PIXELS = {"cpu": 2**16, "cuda": 2**22}
"""Pixels that go through the network together, by device; a larger image goes alone."""


def eval_batches(
    items: Sequence[Item],
    *,
    reader: Reader,
    device: torch.device,
    rank: int = 0,
    world: int = 1,
    spec: InputSpec = RGB,
) -> Iterator[tuple[Tensor, Tensor]]:
    """This process's share, every `world`-th item from `rank` on, without padding: shares may differ by one image.
    Neighbours of equal size come together; the next ones are read meanwhile.

    Yields (images (B, bands, H, W) float32 as ``spec`` says, masks (B, H, W) int64 with 255 = ignore). An image that
    cannot be decoded is an error, whatever `on_corrupt` says: a score on fewer images is another score.
    """
    with ThreadPoolExecutor(1) as pool:
        batches = _alike(items[rank::world], reader, PIXELS[device.type])
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            images, masks = (torch.stack(column).to(device, non_blocking=True) for column in zip(*batch, strict=True))
            yield normalise(unit(images), spec), masks.long()


def _alike(items: Sequence[Item], reader: Reader, pixels: int) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Images and masks of equal size that follow each other, at most ``pixels`` of them."""
    batch: list[tuple[Tensor, Tensor]] = []
    for item in items:
        image, mask = reader(item, with_mask=True)
        assert mask is not None
        if batch and (batch[0][1].shape != mask.shape or (len(batch) + 1) * mask.numel() > pixels):
            yield batch
            batch = []
        batch.append((image, mask))
    if batch:
        yield batch
