"""What every segmentation network is made of, so that every method runs on every network.

A new network is one file with a subclass of :class:`SegmentationModel`, which says how images become the encoder's maps
(``encode``) and maps become the decoder's features (``join``), and an entry in `trainers.models.build`. Methods call
the network as a module, and look at nothing but what is written here.

Shape letters: B images, C classes, H x W input pixels, h x w cells of the decoder.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from trainers.interface.input_spec import InputSpec
from trainers.models import frozen


class Encoded(NamedTuple):
    """What the encoder makes of images.

    Args:
        maps: all that the decoder takes. The first ``len(stream_channels)`` are feature maps (B, channels, ..., ...),
            on whose channels feature dropout acts; what follows them (class tokens, say) it leaves alone. Every one has
            B as its first dimension.
        middle, high: feature maps (B, ..., ..., ...) of the last stage but one and of the last: image classifiers and
            class activation maps take them. They may be among ``maps``.
    """

    maps: tuple[Tensor, ...]
    middle: Tensor
    high: Tensor


class Joined(NamedTuple):
    """What the decoder makes of the encoder's maps before its last convolutions.

    Args:
        context: (B, context_channels, ..., ...), which auxiliary decoders take: deep and coarse.
        neck: (B, neck_channels, h, w), what ``fuse`` takes; features are perturbed here.
    """

    context: Tensor
    neck: Tensor


class Features(NamedTuple):
    """A forward pass with what it went through. ``logits`` (B, C, H, W); ``maps``, ``middle``, ``high``: see
    :class:`Encoded`; ``context``: see :class:`Joined`.

    ``coarse`` (B, C, h', w'), the logits before they were brought to the input's size, ``fused``
    (B, fused_channels, h', w'), what the classifier took, and ``neck`` (B, neck_channels, h', w'): features in which
    pixels are compared, and the logits at their places. All three are as :meth:`SegmentationModel.compared` gives them:
    of stride 4 where the decoder's own stride is smaller.
    """

    logits: Tensor
    coarse: Tensor
    fused: Tensor
    maps: tuple[Tensor, ...]
    middle: Tensor
    high: Tensor
    context: Tensor
    neck: Tensor


class SegmentationModel(nn.Module):
    """Encoder, decoder and classifier.

        images --encode--> maps --join--> neck --fuse--> fused --classify--> coarse logits --upsample--> logits

    A subclass sets in its ``__init__``:

    - ``backbone``: the encoder. It is the optimiser's first group, at ``optim.lr``; all else trains at the head's rate.
      A second head has a network's whole but for its backbone, which is replaced there by ``nn.Identity``: ``join`` and
      all after it must not use it.
    - ``fuse``: neck (B, neck_channels, h, w) -> fused (B, fused_channels, h, w); ``nn.Identity()`` where the decoder is
      one piece. ``classify``: fused -> coarse logits (B, C, h, w).
    - ``upsample``: called as ``upsample(maps, (H, W))``, brings maps of any number of channels to a size.
    - ``stream_channels``: channels of the maps on which feature dropout acts, in their order in ``Encoded.maps``.
    - ``neck_channels``, ``fused_channels``, ``context_channels``; ``tap_channels``: of ``middle`` and ``high``.
    - ``input_spec``: bands, mean and deviation, and the multiple that the input's sides must be of.

    Every parameter that requires a gradient must get one from ``forward(images)`` in train mode, since DDP waits for
    each: a subclass freezes the others. The weights are drawn from torch's global generator, which
    `trainers.models.build.build_model` seeds. What draws random numbers in a forward pass (dropout, drop path) does so
    from the global generator, which the loop seeds at every step.
    """

    backbone: nn.Module
    fuse: nn.Module
    classify: nn.Module
    upsample: nn.Module
    stream_channels: tuple[int, ...]
    neck_channels: int
    fused_channels: int
    context_channels: int
    tap_channels: tuple[int, int]
    input_spec: InputSpec
    started_from: str = ""
    """What was loaded of an earlier run, and what is new, where `model.weights` is a checkpoint."""
    frozen: bool = False
    """Whether the backbone is held; see :meth:`freeze`."""

    def encode(self, images: Tensor) -> Encoded:
        """The encoder's maps of normalised images (B, bands, H, W)."""
        raise NotImplementedError

    def encoded(self, images: Tensor) -> Encoded:
        """:meth:`encode`, once for all networks that have a frozen encoder in common."""
        return frozen.encoded(self.backbone, images, self.encode) if self.frozen else self.encode(images)

    def join(self, maps: tuple[Tensor, ...], size: tuple[int, int]) -> Joined:
        """The decoder without its last convolutions, of ``Encoded.maps``; they may be of more images than were encoded
        together.

        Args:
            size: (H, W) of the images.
        """
        raise NotImplementedError

    def compared(self, maps: Tensor) -> Tensor:
        """Maps (B, ..., h, w) of the decoder at the resolution at which methods compare pixels: as they are, unless a
        subclass pools them. At stride 1 a few crops have a million of them."""
        return maps

    def tail(self, neck: Tensor) -> Tensor:
        """Coarse logits (B, C, h, w) of the decoder's features."""
        logits: Tensor = self.classify(self.fuse(neck))
        return logits

    def decode(self, maps: tuple[Tensor, ...], size: tuple[int, int]) -> Tensor:
        """Logits (B, C, *size) of the encoder's maps, class by class in memory: the losses go over pixels."""
        logits: Tensor = self.upsample(self.tail(self.join(maps, size).neck).contiguous(), size)
        return logits

    def through(self, images: Tensor, head: "SegmentationModel") -> Tensor:
        """Logits (B, C, H, W) that another network's decoder gives for this one's maps of images (B, bands, H, W)."""
        size = (images.shape[-2], images.shape[-1])
        logits: Tensor = head.upsample(head.tail(head.join(self.encoded(images).maps, size).neck), size)
        return logits

    def freeze(self) -> None:
        """The backbone keeps its weights from here on, and runs as in evaluation also in train mode."""
        self.frozen = True
        self.backbone.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def randomise(self) -> None:
        """Draws all weights anew, those that were pretrained too, from torch's global generator. A frozen encoder is
        this network's own from then on."""
        self.backbone = frozen.own_encoder(self)
        for module in self.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()

    def forward(
        self,
        images: Tensor,
        dropout: Sequence[Tensor] | None = None,
        perturb: Callable[[Tensor], Tensor] | None = None,
        features: bool = False,
        plain: bool = True,
    ) -> Tensor | tuple[Tensor, Tensor] | Features:
        """Logits (B, C, H, W) of images (B, bands, H, W).

        Args:
            dropout: multipliers (B, channels, 1, 1), one for each of ``stream_channels``; then the logits of the whole
                features and of the multiplied ones. The decoder runs once on both halves, so that both are in its batch
                statistics.
            plain: False: of the multiplied features alone.
            perturb: applied to what ``fuse`` takes.
            features: give all :class:`Features`.
        """
        size = (images.shape[-2], images.shape[-1])
        encoded = self.encoded(images)
        if features or perturb is not None:
            joined = self.join(encoded.maps, size)
            fused = self.fuse(joined.neck if perturb is None else perturb(joined.neck))
            coarse = self.classify(fused)
            logits: Tensor = self.upsample(coarse.contiguous(), size)
            if not features:
                return logits
            return Features(
                logits=logits,
                coarse=self.compared(coarse),
                fused=self.compared(fused),
                maps=encoded.maps,
                middle=encoded.middle,
                high=encoded.high,
                context=joined.context,
                neck=self.compared(joined.neck),
            )
        if dropout is None:
            return self.decode(encoded.maps, size)
        multiplied = multiplied_maps(encoded.maps, dropout)
        if not plain:
            return self.decode(multiplied, size)
        both = tuple(torch.cat(pair) for pair in zip(encoded.maps, multiplied, strict=True))
        whole, dropped = self.decode(both, size).chunk(2)
        return whole, dropped


def multiplied_maps(maps: tuple[Tensor, ...], multipliers: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The first maps times the multipliers (B, channels, 1, 1); those without one as they are."""
    found = tuple(one * keep.to(one.dtype) for one, keep in zip(maps, multipliers, strict=False))
    return found + maps[len(found) :]
