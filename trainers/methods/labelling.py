"""Offline labelling: class probabilities of a whole image, agreement of two masks, stored masks as tensors, and the
trainings between which it is done."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.common.float32 import exact
from trainers.interface.method import Needs, Stage
from trainers.losses.functional import probabilities


def copy_of(network: nn.Module) -> nn.Module:
    """The network as it is, frozen, in eval mode."""
    return copy.deepcopy(network).requires_grad_(False).eval()


@torch.no_grad()
def predict(network: nn.Module, image: Tensor, *, scales: Sequence[float], flip: bool) -> Tensor:
    """Class probabilities (1, C, H, W) of an image (1, 3, H, W): the mean over its sizes, and over it and its mirror
    image."""
    height, width = image.shape[-2:]
    found = []
    for scale in scales:
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        resized = image if scale == 1 else F.interpolate(image, size=size, mode="bilinear", align_corners=True)
        for mirrored in (False, True) if flip else (False,):
            logits = exact(network(resized.flip(-1) if mirrored else resized))
            if scale != 1:
                logits = F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=True)
            found.append(probabilities(logits.flip(-1) if mirrored else logits))
    return torch.stack(found).mean(dim=0)


def mean_iou(mask: Tensor, other: Tensor, num_classes: int) -> float:
    """Mean over the classes that at least one of two masks (H, W) shows of their intersection over union, 0 .. 1."""
    pairs = torch.bincount(mask.flatten() * num_classes + other.flatten(), minlength=num_classes**2)
    table = pairs.view(num_classes, num_classes).double()
    inside = table.diagonal()
    union = table.sum(dim=0) + table.sum(dim=1) - inside
    return float((inside[union > 0] / union[union > 0]).mean())


def tensors_from_masks(masks: Mapping[int, bytes], device: torch.device) -> dict[str, Tensor]:
    """PNG files by place in the list as ``place`` (n,) and ``size`` (n,) int64 and ``bytes`` (sum of sizes,) uint8;
    those of several processes are these, one behind the other."""
    places = sorted(masks)
    joined = b"".join(masks[place] for place in places)
    return {
        "place": torch.tensor(places, dtype=torch.int64, device=device),
        "size": torch.tensor([len(masks[place]) for place in places], dtype=torch.int64, device=device),
        "bytes": torch.from_numpy(np.array(bytearray(joined), dtype=np.uint8)).to(device),
    }


def masks_from_tensors(state: Mapping[str, Tensor]) -> dict[int, bytes]:
    """The files again."""
    whole, masks, begin = state["bytes"].cpu().numpy().tobytes(), {}, 0
    for place, size in zip(state["place"].tolist(), state["size"].tolist(), strict=True):
        masks[place] = whole[begin : begin + size]
        begin += size
    return masks


def in_passes(first: Needs, later: Needs, *, labelled: int, unlabelled: int) -> tuple[Needs, Needs]:
    """What the trainings of :func:`after_labels` need when an epoch of the first one is a pass over the labelled images
    and an epoch of a later one a pass over the unlabelled images. A step of the first one has as many images as a later
    step has of both kinds.

    Args:
        first: what the first training needs.
        later: what each later one needs.
        labelled: images in the labelled list.
        unlabelled: images in the unlabelled one.
    """
    batches = 1 + later.unlabelled_batches
    return (
        replace(first, labelled_batches=batches, epoch_images=labelled),
        replace(later, epoch_images=unlabelled * batches // later.unlabelled_batches),
    )


def after_labels(first: Needs, later: Needs, *, count: int, share: float | None) -> tuple[Stage, ...]:
    """A training on labels, and ``count`` further ones of equal length, each with the weights of the one before.

    Args:
        share: of all epochs, of the first one; None: as much as each later one.
    """
    share = 1 / (count + 1) if share is None else share
    return (Stage(share=share, needs=first), *[Stage(share=(1 - share) / count, needs=later, fresh=False)] * count)


def below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): value.clone() for name, value in state.items() if name.startswith(prefix)}
