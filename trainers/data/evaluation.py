"""Images to evaluate on, at their own size, each exactly once over all processes."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from trainers.data.layout import Item
from trainers.data.read import Reader
from trainers.data.views import normalise, unit


def eval_items(
    items: Sequence[Item], *, reader: Reader, rank: int = 0, world: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """This process's share, every `world`-th item from `rank` on, without padding: shares may differ by one image.

    Yields (image (1, 3, H, W) float32 normalised, mask (1, H, W) int64 with 255 = ignore). An image that cannot be
    decoded is an error, whatever `on_corrupt` says: a score on fewer images is another score.
    """
    for item in items[rank::world]:
        image, mask = reader(item, with_mask=True)
        assert mask is not None
        yield normalise(unit(image))[None], mask.long()[None]
