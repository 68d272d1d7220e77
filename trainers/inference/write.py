"""`write_predictions`: a folder of masks, overlays and probabilities that a second call goes on with."""

import re
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers.common.environment import package_versions
from trainers.common.errors import ConfigError, DataError
from trainers.common.home import expanded
from trainers.data.bands import picture_of
from trainers.data.layout import Item
from trainers.data.opening import CorruptError
from trainers.inference.augmented import NONE, Augmentation
from trainers.inference.images import Images, given_images
from trainers.inference.model import LoadedModel
from trainers.inference.pictures import write_mask, write_overlay, write_probabilities
from trainers.inference.predict import Prediction, predict
from trainers.inference.record import Record

WRITERS = 2
"""Threads that write files: Pillow and NumPy compress without holding the interpreter."""
WAITING, WAITING_BYTES = 8, 2**29
"""Predictions that wait to be written, at most: so many, or of so many bytes."""
VOC_CLASSES = 21


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Which files are made of an image `dir/name.jpg`, below the output folder.

    Args:
        overlay: also `overlays/dir/name.jpg`, the image under its classes' colours.
        probabilities: also `probabilities/dir/name.npz`: float16 (C, H, W).
        voc_server: such as `comp6_test`: masks go to `results/VOC2012/Segmentation/comp6_test_cls/name.png`, as Pascal
            VOC's server takes them, instead of `masks/dir/name.png`.
    """

    overlay: bool = False
    probabilities: bool = False
    voc_server: str | None = None

    def __post_init__(self) -> None:
        if self.voc_server is not None and not re.fullmatch(r"comp[56]_(test|val)", self.voc_server):
            raise ConfigError(
                f"--voc-server {self.voc_server}: write comp5_test (trained on VOC's own images alone) or comp6_test "
                "(on others too, such as ImageNet)"
            )

    def files(self, name: str) -> list[str]:
        """Paths below the output folder; the mask comes first."""
        return [
            self.mask(name),
            *([f"overlays/{name}.jpg"] if self.overlay else []),
            *([f"probabilities/{name}.npz"] if self.probabilities else []),
        ]

    def mask(self, name: str) -> str:
        """Where the mask of an image goes."""
        if self.voc_server is None:
            return f"masks/{name}.png"
        return f"results/VOC2012/Segmentation/{self.voc_server}_cls/{Path(name).name}.png"


@dataclass(frozen=True, kw_only=True)
class Written:
    """What became of the images: how many were predicted now, how many were there already, and why the others were
    not."""

    predicted: int
    there: int
    faults: tuple[str, ...]


def write_predictions(
    model: LoadedModel,
    images: Images | str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    outputs: Outputs | None = None,
    augmentation: Augmentation = NONE,
    batch_size: int | None = None,
    redo: bool = False,
    on_image: Callable[[int, int], object] = lambda done, total: None,
    on_fault: Callable[[str], object] = lambda text: None,
) -> Written:
    """Predict images into a folder. Images whose files are all there, made by the same weights and options of the same
    file, are not predicted again.

    Args:
        model: of `load_model`.
        images: files or folders, or what `given_images` or `listed_images` found.
        out: the folder; empty, new, or of an earlier call.
        outputs: which files; None: masks alone.
        augmentation: test-time augmentation.
        batch_size: images of equal size that go through the network together; None: as the run's evaluation.
        redo: make again what was made by other weights or options, instead of refusing.
        on_image: told how many of how many images are done.
        on_fault: told of an image that cannot be read; the others go on.

    Raises:
        ConfigError: the folder holds other files, or predictions of other weights or options.
        OutputError: a file cannot be written.
    """
    outputs, folder = outputs or Outputs(), expanded(out)
    if not isinstance(images, Images):
        given = [images] if isinstance(images, str | Path) else images
        images = given_images(model, given, without=folder)
    _check_server(model, images, outputs)
    record = Record(folder, how(model, augmentation, batch_size), told=_told(model), redo=redo)
    pairs = list(zip(images.items, images.names, strict=True))
    there = {name for item, name in pairs if record.has(name, item.image, outputs.files(name))}
    faults: list[str] = []

    def fault(item: Item, error: DataError) -> None:
        faults.append(_said(item, error))
        on_fault(faults[-1])
        on_image(len(there) + made + len(faults), len(pairs))

    made, background = 0, _background(model)
    on_image(len(there), len(pairs))
    with ThreadPoolExecutor(WRITERS) as pool:
        waiting: deque[tuple[Prediction, Future[None]]] = deque()

        def settle() -> None:
            nonlocal made
            one, writing = waiting.popleft()
            writing.result()
            size = (one.classes.shape[0], one.classes.shape[1])
            record.add(one.name, one.item.image, outputs.files(one.name), size)
            made += 1
            on_image(len(there) + made + len(faults), len(pairs))

        for one in predict(
            model,
            images,
            augmentation=augmentation,
            probabilities=outputs.probabilities,
            batch_size=batch_size,
            wanted=lambda item, name: name not in there,
            on_fault=fault,
        ):
            waiting.append((one, pool.submit(_write, folder, one, model, outputs, background)))
            while len(waiting) > WAITING or sum(_bytes(late) for late, _ in waiting) > WAITING_BYTES:
                settle()
        while waiting:
            settle()
    return Written(predicted=made, there=len(there), faults=tuple(faults))


def _bytes(one: Prediction) -> int:
    """What a prediction takes until it is written."""
    tensors = (one.pixels, one.classes, one.probabilities)
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)


def how(model: LoadedModel, augmentation: Augmentation, batch_size: int | None) -> dict[str, Any]:
    """What decides the predictions; a folder holds those of one."""
    config = model.config
    sliding = config.evaluation.mode == "sliding"
    return {
        "weights": model.digest(),
        "evaluation.mode": config.evaluation.mode,
        "window": config.data.crop if sliding else None,
        "evaluation.scale": config.evaluation.scale,
        "precision.amp": config.precision.amp,
        "data.exif": config.data.exif,
        "data.value_range": config.data.value_range and list(config.data.value_range),
        "scales": sorted(set(augmentation.scales)),
        "flips": sorted(set(augmentation.flips)),
        "batch_size": batch_size,
    }


def _told(model: LoadedModel) -> dict[str, Any]:
    return {
        "checkpoint": str(model.path),
        "epoch": model.epoch,
        "classes": list(model.classes),
        "device": str(model.device),
        "versions": package_versions(),
    }


def _write(folder: Path, one: Prediction, model: LoadedModel, outputs: Outputs, background: int | None) -> None:
    classes = one.classes.numpy()
    if outputs.overlay:
        pixels = picture_of(one.pixels, one.item.decoding.shown_bands).permute(1, 2, 0).numpy()
        write_overlay(folder / f"overlays/{one.name}.jpg", pixels, classes, model.palette, clear=background)
    if one.probabilities is not None:
        write_probabilities(folder / f"probabilities/{one.name}.npz", one.probabilities.numpy(), model.classes)
    write_mask(folder / outputs.mask(one.name), classes, model.palette)


def _background(model: LoadedModel) -> int | None:
    """The class that an overlay leaves without a colour, where there is one."""
    return next((index for index, name in enumerate(model.classes) if name.lower() == "background"), None)


def _said(item: Item, error: DataError) -> str:
    """The error without its advice on a training's list, since the image belongs to none."""
    text = str(error)
    if isinstance(error, CorruptError):
        return text.partition(" (named in ")[0]
    return text.replace(f" (named in {item.where or item.name})", "")


def _check_server(model: LoadedModel, images: Images, outputs: Outputs) -> None:
    """Whether what the server takes can be made."""
    if outputs.voc_server is None:
        return
    if model.num_classes != VOC_CLASSES:
        raise ConfigError(
            f"--voc-server: Pascal VOC has {VOC_CLASSES} classes with the background, this model {model.num_classes}"
        )
    stems: dict[str, str] = {}
    for name in images.names:
        if (other := stems.setdefault(Path(name).name, name)) != name:
            raise ConfigError(
                f"--voc-server: {other} and {name} would have one mask; the server knows images by their id"
            )
