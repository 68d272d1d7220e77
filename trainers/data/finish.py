"""From what was drawn for a batch to what a training step receives, on the device on which it lies."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainers.data.strong import strong_views
from trainers.data.views import ignore_maps, normalise, unit

if TYPE_CHECKING:
    from trainers.config import TrainConfig


def finish(batch: dict[str, Any], config: "TrainConfig") -> dict[str, Any]:
    """Normalised images, strong views and `ignore` maps in place of pixels, drawn numbers and extents."""
    labelled = batch["labelled"]
    with _one_thread(labelled["image"].device):
        finished = batch | {"labelled": labelled | {"image": normalise(unit(labelled["image"]))}}
        if "unlabelled" in batch:
            finished["unlabelled"] = _views(batch["unlabelled"], config)
    return finished


def _views(drawn: dict[str, Tensor], config: "TrainConfig") -> dict[str, Tensor]:
    made = {name: value for name, value in drawn.items() if name.startswith("box")}
    for prefix in ("", "partner_"):
        if f"{prefix}weak" not in drawn:
            continue
        weak = unit(drawn[f"{prefix}weak"])
        made[f"{prefix}weak"] = normalise(weak)
        made[f"{prefix}ignore"] = ignore_maps(drawn[f"{prefix}extent"], crop=config.data.crop)
        for number, numbers in enumerate(drawn[f"{prefix}strong"].unbind(1)):
            strong = strong_views(weak, numbers, largest_sigma=config.views.blur_sigma_max)
            made[f"{prefix}strong{number}"] = normalise(strong)
    return made


@contextlib.contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """Sums by several threads differ in the last bits, and loader workers have one."""
    threads = torch.get_num_threads()
    if device.type == "cuda" or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
