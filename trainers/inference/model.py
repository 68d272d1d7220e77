"""`load_model`: a trained network with all that it takes to use it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainers.common.errors import CheckpointError
from trainers.config import TrainConfig
from trainers.data.cityscapes import CLASSES as CITYSCAPES
from trainers.data.digits import CLASSES as DIGITS
from trainers.data.layout import Item
from trainers.data.read import read_image
from trainers.data.views import normalise, unit
from trainers.data.voc import CLASSES as VOC
from trainers.inference.palette import palette_of
from trainers.inference.sources import Which, config_of, find
from trainers.interface.input_spec import InputSpec
from trainers.loop.class_scores import brought_to, class_scores
from trainers.loop.method_context import make_context
from trainers.loop.process_group import Process, current
from trainers.methods.registry import build_method
from trainers.models.interface import SegmentationModel

NAMED = {"voc": VOC, "cityscapes": CITYSCAPES, "digits": DIGITS}
"""Classes of data sets whose config does not name them."""


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A trained network and what belongs to it.

    Args:
        network: the one that the run's scores are of (a method's student, teacher, or mean of teachers), in eval mode,
            without gradients: images (B, bands, H, W), normalised -> logits (B, C, H, W).
        config: of the run; evaluation and reading of images follow it.
        classes: names by index.
        mean: of the bands, for images in 0 .. 1; the network takes (image - mean) / std.
        std: of the bands, likewise.
        input_multiple: crops were multiples of it. The network takes images of any size all the same, which it pads or
            resizes itself.
        palette: colours of the indices 0 .. 255, (256, 3) uint8.
        path: the checkpoint.
        epoch: after which these weights were kept, from 1.
        images: how many trained and scored it, by their part; None where an earlier version wrote the checkpoint.
        device: on which the network is.
    """

    network: nn.Module
    config: TrainConfig
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_multiple: int
    palette: NDArray[np.uint8]
    path: Path
    epoch: int
    images: dict[str, int] | None
    device: torch.device

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def read(self, path: str | Path) -> Tensor:
        """An image file as the run reads its own, RGB (3, H, W) uint8, or with `data.bands` (bands, H, W) uint16.

        Raises:
            DataError: by name.
        """
        return read_image(self.item(Path(path)))

    def item(self, path: Path, *, root: Path | None = None) -> Item:
        """An image file, to be decoded as the run's own are."""
        return Item(image=path, root=root, where=str(path), decoding=self.config.data.decoding(self.num_classes))

    def normalise(self, pixels: Tensor) -> Tensor:
        """Pixels as :meth:`read` gives them, as the network takes them, (..., bands, H, W): float32, on its device."""
        return normalise(unit(pixels.to(self.device)), self.spec)

    @property
    def spec(self) -> InputSpec:
        """How the network takes images."""
        return InputSpec(mean=self.mean, std=self.std, multiple=self.input_multiple)

    @torch.no_grad()
    def classes_of(self, pixels: Tensor) -> Tensor:
        """The class of every pixel, (B, H, W) int64, as the run's evaluation finds it.

        Args:
            pixels: images of any size as :meth:`read` gives them, (B, bands, H, W).
        """
        scores = class_scores(self.network, self.normalise(pixels), config=self.config, num_classes=self.num_classes)
        return brought_to(scores.max(dim=1).indices, pixels.shape[-2:])

    def digest(self) -> str:
        """Tells weights apart: 16 hex digits over all tensors of the network."""
        found = hashlib.sha256()
        for name, value in sorted(self.network.state_dict().items()):
            found.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
            found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        return found.hexdigest()[:16]


def load_model(
    source: str | Path,
    *,
    weights: Which | None = None,
    device: str | None = None,
    overrides: tuple[str, ...] = (),
) -> LoadedModel:
    """The network of a training, ready to be used.

    Args:
        source: a run's folder (runs/best-seed1), a trial's (studies/voc/trials/t0003), or a checkpoint (.pt).
        weights: of a folder, `last` (as None) or `best`, the epoch that scored highest on held-out images.
        device: auto, cpu or cuda; None: `precision.device`.
        overrides: key=value of the sections data, evaluation and precision, such as data.root=/data/voc.

    Raises:
        ConfigError: there is no model, or an override cannot be accepted.
        CheckpointError: the file is damaged, or belongs to another version.
    """
    asked = (f"precision.device={device}",) if device is not None else ()
    path, state = find(source, weights)
    config, said = config_of(path, state, (*asked, *overrides))
    classes = tuple(said["classes"]) if said is not None else _classes(config)
    process = Process(rank=0, world=1, device=current(config.precision.device).device)
    counts = said["images"] if said is not None else {}
    context = make_context(
        config.model_copy(update={"model": config.model.model_copy(update={"weights": "none"})}),
        num_classes=len(classes),
        process=process,
        labelled=max(1, counts.get("labelled", 1)),
        unlabelled=max(1, counts.get("unlabelled", 1)),
    )
    method = build_method(config.method, context)
    try:
        for name, module in {
            "student": context.student,
            **{n: one.module for n, one in method.trained().items()},
        }.items():
            module.load_state_dict(state[name])
        method.load_state_dict(state["method"])
    except (RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path}: its weights do not fit the networks of this version ({str(error).splitlines()[0]})"
        ) from error
    spec = cast(SegmentationModel, context.student).input_spec
    taken = said["input"] if said is not None and "input" in said else {"mean": spec.mean, "std": spec.std}
    network = method.networks()[method.eval_network].eval().requires_grad_(False)
    return LoadedModel(
        network=network,
        config=config,
        classes=classes,
        mean=tuple(taken["mean"]),
        std=tuple(taken["std"]),
        input_multiple=spec.multiple,
        palette=palette_of(config.data.name),
        path=path,
        epoch=_epoch(state),
        images=counts or None,
        device=process.device,
    )


def _classes(config: TrainConfig) -> tuple[str, ...]:
    """Where the checkpoint does not say them."""
    if config.data.name in NAMED:
        return NAMED[config.data.name]
    named: tuple[str, ...] | None = getattr(config.data, "classes", None)
    return named or tuple(f"class {index}" for index in range(config.data.num_classes))  # type: ignore[union-attr]


def _epoch(state: dict[str, Any]) -> int:
    """Epoch of a checkpoint: epochs trained for the last one, the epoch of the best score for the best one."""
    if "records" not in state:
        return int(state["epoch"][1])
    trained = len(state["records"]) + (state.get("unscored") is not None)
    return int(trained)
