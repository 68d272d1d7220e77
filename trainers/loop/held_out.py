"""What a run found on each of its held-out images: counts by class, and small pictures of some predictions.

`held_out/<epoch>.npz` in the run's folder, an uncompressed zip of arrays that numpy reads without pickles:

=============  ==================================================================================================
``epoch``      finished epochs
``names``      (n,) text, the images by their names below the data root, in the order of the held-out list
``counts``     (n, 3, C) int64: pixels of a class that are found, wrongly found, and missed (tp, fp, fn)
``shown``      (k,) places of the images with pictures
``files``      uint8, the bytes of 3 k files one after the other: image (JPEG), truth and prediction (PNG, class
               indices, 255 = ignore), then those of the next image; the longer side has at most `LARGEST` pixels
``lengths``    (k, 3) bytes of each
=============  ==================================================================================================
"""

import io
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trainers.common.atomic import replacing
from trainers.data.bands import picture_of
from trainers.data.layout import Item
from trainers.data.read import Reader, mask_to_png
from trainers.interface.labels import IGNORE
from trainers.loop.class_scores import brought_to
from trainers.loop.process_group import Process

logger = logging.getLogger(__name__)

LARGEST = 192
"""Longer side of a picture, in pixels at most."""
MOST_SHOWN = 200
"""Images with pictures after the last epoch, at most: those that gain and lose most are found among them."""


def spread(count: int, wanted: int) -> list[int]:
    """So many places of a list, evenly spread: the same for equal lists."""
    wanted = min(count, wanted)
    return [(2 * place + 1) * count // (2 * wanted) for place in range(wanted)]


class HeldOutWriter:
    """Gathers what is predicted, batch by batch, in the order in which this process sees its images.

    Args:
        items: held-out images, of all processes; this one sees every `world`-th from its rank on.
        shown: how many get pictures.
    """

    def __init__(self, items: Sequence[Item], *, num_classes: int, shown: int, process: Process) -> None:
        self.items, self.num_classes, self.process = items, num_classes, process
        self.places = spread(len(items), shown)
        self._slots = {place: slot for slot, place in enumerate(self.places)}
        self._next = process.rank
        device = process.device
        self.counts = torch.zeros(len(items), 3, num_classes, dtype=torch.int64, device=device)
        self._sizes = torch.zeros(len(self.places), 2, dtype=torch.int64, device=device)
        self._pictures = torch.zeros(len(self.places), LARGEST, LARGEST, dtype=torch.uint8, device=device)

    def add(self, prediction: Tensor, masks: Tensor) -> None:
        """The next images of this process: classes (B, H, W) int64 that were predicted, and true ones, 255 = ignore."""
        count, cells = len(masks), self.num_classes**2
        cell = torch.where(masks == IGNORE, cells, masks * self.num_classes + prediction).flatten(1)
        cell = cell + torch.arange(count, device=cell.device)[:, None] * (cells + 1)
        pixels = torch.bincount(cell.flatten(), minlength=count * (cells + 1)).view(count, cells + 1)[:, :cells]
        matrix = pixels.view(count, self.num_classes, self.num_classes)
        found = matrix.diagonal(dim1=1, dim2=2)
        rows = torch.stack([found, matrix.sum(dim=1) - found, matrix.sum(dim=2) - found], dim=1)
        for number in range(count):
            place = self._next
            self._next += self.process.world
            self.counts[place] = rows[number]
            if (slot := self._slots.get(place)) is not None:
                height, width = picture_size(masks.shape[-2:])
                small = brought_to(prediction[number : number + 1], torch.Size((height, width)))[0]
                self._pictures[slot, :height, :width] = small.to(torch.uint8)
                self._sizes[slot] = torch.tensor([height, width], device=self._sizes.device)

    def write(self, path: Path, *, epoch: int, reader: Reader) -> None:
        """Join what all processes have; rank 0 writes. A disk that does not take it costs the pictures and not the
        run."""
        for tensor in (self.counts, self._sizes, self._pictures):
            self.process.sum_(tensor)
        if self.process.rank:
            return
        files = [
            part for slot, place in enumerate(self.places) for part in self._files(slot, self.items[place], reader)
        ]
        try:
            path.parent.mkdir(exist_ok=True)
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.savez(
                    file,
                    epoch=np.array(epoch),
                    names=np.array([item.name for item in self.items], dtype=np.str_),
                    counts=self.counts.cpu().numpy(),
                    shown=np.array(self.places, dtype=np.int64),
                    files=np.frombuffer(b"".join(files), dtype=np.uint8),
                    lengths=np.array([len(part) for part in files], dtype=np.int64).reshape(-1, 3),
                )
        except OSError as error:
            logger.warning("%s: cannot be written (%s); the run goes on without these pictures", path, error.strerror)

    def _files(self, slot: int, item: Item, reader: Reader) -> tuple[bytes, bytes, bytes]:
        height, width = self._sizes[slot].tolist()
        image, mask = reader(item, with_mask=True)
        assert mask is not None
        truth = brought_to(mask[None], torch.Size((height, width)))[0]
        return (
            _jpeg(picture_of(image, item.decoding.shown_bands), (width, height)),
            mask_to_png(truth),
            mask_to_png(self._pictures[slot, :height, :width]),
        )


def picture_size(size: Sequence[int]) -> tuple[int, int]:
    """Height and width of an image's picture."""
    scale = min(1.0, LARGEST / max(size))
    height, width = (max(1, round(side * scale)) for side in size)
    return height, width


def _jpeg(image: Tensor, size: tuple[int, int]) -> bytes:
    """An image (3, H, W) uint8 as a JPEG file of another size (width, height)."""
    file = io.BytesIO()
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    picture.resize(size, Image.Resampling.BOX).save(file, format="jpeg", quality=90)
    return file.getvalue()
