"""Images to evaluate on, at their own size, each exactly once over all processes."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as ops

from trainers.data.layout import Item
from trainers.data.read import check_sizes, read_image, read_mask
from trainers.data.views import normalise


def eval_items(
    items: Sequence[Item], *, num_classes: int, rank: int = 0, world: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """This process's share, every `world`-th item from `rank` on, without padding: shares may differ by one image.

    Yields (image (1, 3, H, W) float32 normalised, mask (1, H, W) int64 with 255 = ignore). An image that cannot be
    decoded is an error, whatever `on_corrupt` says: a score on fewer images is another score.
    """
    for item in items[rank::world]:
        image, mask = read_image(item), read_mask(item, num_classes=num_classes)
        check_sizes(item, image.shape[1:], mask.shape)
        yield normalise(ops.to_dtype(image, torch.float32, scale=True))[None], mask.long()[None]
