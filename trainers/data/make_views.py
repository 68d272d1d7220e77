"""From what was drawn for a batch to what a training step receives, on the device on which it lies."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainers.data.strong import strong_views
from trainers.data.views import ignore_maps, normalise, unit
from trainers.interface.input_spec import InputSpec

if TYPE_CHECKING:
    from trainers.data.loader_config import LoaderConfig


def finish(batch: dict[str, Any], config: "LoaderConfig", spec: InputSpec) -> dict[str, Any]:
    """Normalised images, strong views and `ignore` maps in place of pixels, drawn numbers and extents.

    Args:
        spec: what the network takes.
    """
    with _one_thread(batch["labelled"]["image"].device):
        return batch | {
            part: _finished(batch[part], config, spec) for part in ("labelled", "unlabelled") if part in batch
        }


def _finished(drawn: dict[str, Tensor], config: "LoaderConfig", spec: InputSpec) -> dict[str, Tensor]:
    """Of each kind of crop that lies there: the name of its pixels, and the prefix of what was drawn for it."""
    made = dict(drawn)
    for pixels, prefix in (("image", ""), ("weak", ""), ("partner_weak", "partner_"), ("second_weak", "second_")):
        if pixels not in drawn:
            continue
        weak = unit(drawn[pixels])
        made[pixels] = normalise(weak, spec)
        if f"{prefix}extent" in drawn:
            made[f"{prefix}ignore"] = ignore_maps(made.pop(f"{prefix}extent"), crop=config.data.crop)
        for number, numbers in enumerate(made.pop(f"{prefix}strong").unbind(1)):
            strong = strong_views(weak, numbers, largest_sigma=config.views.blur_sigma_max)
            made[f"{prefix}strong{number}"] = normalise(strong, spec)
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
