"""The plain form of every optimisation of a step, to be put in its place: what the trainer would do without it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def _upsampling() -> None:
    from trainers.common.float32 import exact
    from trainers.models.upsample import Upsample

    def forward(module: Any, features: Tensor, size: tuple[int, int]) -> Tensor:
        corners = True if module.mode == "bilinear" else None
        return F.interpolate(exact(features), size=size, mode=module.mode, align_corners=corners)

    Upsample.forward = forward  # type: ignore[method-assign, assignment]


def _optimiser() -> None:
    from trainers.loop import run
    from trainers.loop.optim import build_optimizer

    def plain(*given: Any, **named: Any) -> torch.optim.Optimizer:
        optimizer = build_optimizer(*given, **named)
        for group in (optimizer.defaults, *optimizer.param_groups):
            group["fused"], group["foreach"] = None, False
        return optimizer

    run.build_optimizer = plain  # type: ignore[attr-defined]


def _pixel_losses() -> None:
    from trainers.losses import functional

    functional.pixel_nll = plain_nll


def plain_nll(logits: Tensor, labels: Tensor) -> Tensor:
    """-log p by log_softmax, as `F.cross_entropy` does it."""
    target = torch.where(labels == 255, 0, labels)
    nll = -logits.float().log_softmax(dim=1).gather(1, target[:, None]).squeeze(1)
    return torch.where(labels == 255, 0.0, nll)


def _labels_once() -> None:
    from trainers.methods import pseudo

    def found(target: Any) -> tuple[Tensor, Tensor]:
        confidence, label = target.logits.float().softmax(dim=1).max(dim=1)
        return label, confidence

    pseudo.Target.pseudo_labels = found  # type: ignore[assignment, method-assign]


def _interpixel() -> None:
    from trainers.losses import interpixel

    class Plain:
        apply = staticmethod(plain_kl)

    interpixel.PixelKl = Plain  # type: ignore[assignment, attr-defined]


def plain_kl(student: Tensor, teacher: Tensor, omega: Tensor, domain: Tensor, temperature: float) -> Tensor:
    """The formula of the paper as it reads, by autograd: (B,), the mean over channels."""
    outside = ~domain[:, None]

    def log_psi(logits: Tensor) -> Tensor:
        log = (logits / temperature).masked_fill(outside, -torch.inf).log_softmax(dim=2)
        return log.masked_fill(outside, 0.0)

    log_p, log_q = log_psi(teacher), log_psi(student)
    return (log_p.exp() * (log_p - log_q)).masked_fill(~omega[:, None], 0.0).sum(dim=2).mean(dim=1)


def _cropped_resize() -> None:
    from torchvision.transforms.v2 import functional as ops

    from trainers.data.views import Geometry

    def pixels(geometry: Geometry, image: Tensor) -> Tensor:
        whole = ops.resize(image, [geometry.height, geometry.width], antialias=True)
        crop = geometry.crop
        part = whole[:, geometry.top : geometry.top + crop, geometry.left : geometry.left + crop]
        padded = ops.pad(part, [0, 0, crop - part.shape[2], crop - part.shape[1]])
        turned: Tensor = ops.horizontal_flip(padded) if geometry.flip else padded
        return turned

    Geometry.pixels = pixels  # type: ignore[assignment, method-assign]


def _batched_views() -> None:
    from torchvision.transforms.v2 import functional as ops

    from trainers.data import make_views
    from trainers.data.strong import NONE

    def one(image: Tensor, numbers: list[float]) -> Tensor:
        changes: tuple[Callable[[Tensor, float], Tensor], ...] = (
            ops.adjust_brightness,
            ops.adjust_contrast,
            ops.adjust_saturation,
            ops.adjust_hue,
            lambda image, _: ops.rgb_to_grayscale(image, num_output_channels=3),
            lambda image, sigma: ops.gaussian_blur(image, [2 * int(3 * sigma + 1) + 1] * 2, [sigma] * 2),
        )
        for change, value, none in zip(changes, numbers, NONE, strict=True):
            if value != none:
                image = change(image, value)
        return image

    def views(weak: Tensor, drawn: Tensor, *, largest_sigma: float) -> Tensor:
        return torch.stack([one(image, numbers) for image, numbers in zip(weak, drawn.tolist(), strict=True)])

    make_views.strong_views = views  # type: ignore[attr-defined]


def _decoded_once() -> None:
    from trainers.data import read

    read.store_of = lambda root, *, limit: None  # type: ignore[attr-defined]


def _nothing() -> None:
    """Switched in the config, see `step_side.config_of`."""


OPTIMISATIONS: dict[str, Callable[[], None]] = {
    "channels_last": _nothing,
    "upsampling by products": _upsampling,
    "lean cross-entropy": _pixel_losses,
    "labels once": _labels_once,
    "blockwise inter-pixel loss": _interpixel,
    "fused optimiser": _optimiser,
    "cropped resize": _cropped_resize,
    "batched views": _batched_views,
    "decode once": _decoded_once,
    "deterministic": _nothing,
}
"""By what the trainer does; the last is no optimisation, but costs something on a GPU."""


def switch_off(names: Sequence[str]) -> None:
    """In this process, for good."""
    for name in names:
        OPTIMISATIONS[name]()


def forget_decoded_images() -> None:
    """As with a data set that is larger than what one process keeps: every image comes from the store on disk."""
    from trainers.data import read

    defaults = read.Reader.__init__.__kwdefaults__
    assert defaults is not None
    defaults["cache_bytes"] = 0
