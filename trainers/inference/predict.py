"""`predict`: classes of images, one after the other, on a network that is kept busy."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from trainers.common.errors import DataError
from trainers.common.float32 import many_sizes
from trainers.data.evaluation import PIXELS
from trainers.data.layout import Item
from trainers.data.pixels import read_header
from trainers.data.read import read_image
from trainers.inference.augmented import NONE, Augmentation, predicted
from trainers.inference.images import Images, given_images
from trainers.inference.model import LoadedModel, load_model
from trainers.loop.fit import numerics
from trainers.loop.out_of_memory import smaller_evaluation, told

OnFault = Callable[[Item, DataError], object]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Of one image.

    Args:
        item: the image's file.
        name: of its outputs, a path without an ending.
        pixels: the image, (3, H, W) uint8, or (bands, H, W) uint16; turned as its EXIF orientation says where the run
            turns its images.
        classes: (H, W) uint8.
        probabilities: (C, H, W) float32, where they were asked for.
    """

    item: Item
    name: str
    pixels: Tensor
    classes: Tensor
    probabilities: Tensor | None = field(default=None, repr=False)


def predict(
    model: LoadedModel | str | Path,
    images: Images | str | Path | Sequence[str | Path],
    *,
    augmentation: Augmentation = NONE,
    probabilities: bool = False,
    batch_size: int | None = None,
    wanted: Callable[[Item, str], bool] = lambda item, name: True,
    on_fault: OnFault | None = None,
) -> Iterator[Prediction]:
    """The classes of every pixel of images, in their order.

    Neighbours of equal size go through the network together, grouped as the run's evaluation groups them, so that the
    classes are its own to the bit. What is not ``wanted`` is left out of no group: a prediction that goes on after an
    interruption gives what it would have given without.

    Args:
        model: a loaded one, or what `load_model` takes.
        images: files or folders, or what `given_images` or `listed_images` found.
        augmentation: test-time augmentation.
        probabilities: give them too.
        batch_size: images of equal size in a group at most; None: as many as the run's evaluation takes, by pixels.
        wanted: whether an image, of this name, is to be predicted.
        on_fault: told of an image that cannot be read, and the rest goes on. None: the error is raised.

    Raises:
        DataError: an image cannot be read, by name.
        OutOfMemory: an image is too large for the device's memory.
    """
    loaded = model if isinstance(model, LoadedModel) else load_model(model)
    if not isinstance(images, Images):
        images = given_images(loaded, [images] if isinstance(images, str | Path) else images)
    source = _Groups(loaded, images, wanted=wanted, on_fault=on_fault, batch_size=batch_size)
    for group in source.read():
        classes, shares = _computed(loaded, group, augmentation, probabilities=probabilities)
        for place, (item, name, image) in enumerate(group):
            if wanted(item, name):
                yield Prediction(
                    item=item,
                    name=name,
                    pixels=image,
                    classes=classes[place],
                    probabilities=None if shares is None else shares[place],
                )


_Group = list[tuple[Item, str, Tensor]]
"""Images of equal size with their names and pixels."""


def _computed(
    model: LoadedModel, group: _Group, augmentation: Augmentation, *, probabilities: bool
) -> tuple[Tensor, Tensor | None]:
    """Classes (B, H, W) uint8 and probabilities (B, C, H, W) of a group, on the CPU."""

    def what() -> str:
        return f"in the prediction of {', '.join(item.name for item, _, _ in group)}:"

    whole = model.config.evaluation.mode == "whole"
    with (
        told(what, smaller_evaluation(model.config.evaluation)),
        numerics(model.config.precision),
        many_sizes() if whole else nullcontext(),
    ):
        pixels = model.normalise(torch.stack([image for _, _, image in group]))
        classes, shares = predicted(model, pixels, augmentation, probabilities=probabilities)
        return classes.to(torch.uint8).cpu(), None if shares is None else shares.cpu()


def grouped(
    model: LoadedModel, images: Images, *, on_fault: OnFault | None = None, batch_size: int | None = None
) -> Iterator[list[tuple[Item, str]]]:
    """Images with their names that go through the network together: neighbours of one size, by what their headers say.

    Args:
        model: on whose device they go.
        images: in their order.
        on_fault: told of an image whose header cannot be read; None: the error is raised.
        batch_size: at most so many; None: as many as the run's evaluation takes, by pixels.

    Raises:
        DataError: a header cannot be read.
    """
    group: list[tuple[Item, str]] = []
    before: tuple[int, int] | None = None
    for item, name in zip(images.items, images.names, strict=True):
        try:
            size = read_header(item.image, item).size
        except DataError as error:
            if on_fault is None:
                raise
            on_fault(item, error)
            continue
        count = len(group) + 1
        room = count * size[0] * size[1] <= PIXELS[model.device.type] if batch_size is None else count <= batch_size
        if group and (size != before or not room):
            yield group
            group = []
        before = size
        group.append((item, name))
    if group:
        yield group


class _Groups:
    """Images of equal size that follow each other; read by a thread while the network computes."""

    def __init__(
        self,
        model: LoadedModel,
        images: Images,
        *,
        wanted: Callable[[Item, str], bool],
        on_fault: OnFault | None,
        batch_size: int | None,
    ) -> None:
        self._model, self._images = model, images
        self._wanted = wanted
        self._on_fault = on_fault
        self._most = batch_size

    def read(self) -> Iterator[_Group]:
        with ThreadPoolExecutor(1) as pool:
            groups = self._decoded()
            coming = pool.submit(next, groups, None)
            while (group := coming.result()) is not None:
                coming = pool.submit(next, groups, None)
                yield group

    def _decoded(self) -> Iterator[_Group]:
        for group in grouped(self._model, self._images, on_fault=self._fault, batch_size=self._most):
            if not any(self._wanted(item, name) for item, name in group):
                continue
            read = []
            for item, name in group:
                try:
                    read.append((item, name, read_image(item)))
                except DataError as error:
                    self._fault(item, error)
            same = [one for one in read if one[2].shape == read[0][2].shape]
            for part in (same, *([one] for one in read if one[2].shape != read[0][2].shape)):
                if part:
                    yield part

    def _fault(self, item: Item, error: DataError) -> None:
        if self._on_fault is None:
            raise error
        self._on_fault(item, error)
