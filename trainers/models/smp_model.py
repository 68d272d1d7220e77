"""A network of segmentation_models.pytorch as the interface wants it (methods: section 24).

Shape letters: B images, C classes, H x W input pixels.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from trainers.interface.input_spec import InputSpec
from trainers.models.frozen import own_encoder
from trainers.models.interface import Encoded, Features, Joined, SegmentationModel
from trainers.models.upsample import Upsample

STRIDE = 4
"""Pixels are compared at this stride, where the decoder's own is smaller."""


class SmpModel(SegmentationModel):
    """Encoder, decoder and head of a model of smp, called one after the other: in evaluation, the model's own logits.

    The maps are the encoder's, the shallowest first: not the image, which smp has at their beginning, and not the empty
    ones of encoders without a stride of 2. Of vision transformers the class and register tokens follow, which feature
    dropout leaves alone. The context is the encoder's last map; neck and features are the decoder's output. The last
    upsampling is by products, as our own network's. Images whose sides are no multiples of the encoder's stride are
    padded in black, right and below, and the logits cut to their size.

    Args:
        whole: of smp; its modules are taken over.
        tokens: its encoder is a vision transformer, whose maps may have tokens beside them.
        spec: what the encoder takes.
        decoder_stride: of the decoder's output.
        anew: makes such a model with random weights.
    """

    def __init__(
        self,
        whole: Any,
        *,
        tokens: bool,
        spec: InputSpec,
        decoder_stride: int,
        anew: Callable[[], SegmentationModel] | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.decoder, head = whole.encoder, whole.decoder, whole.segmentation_head
        self.tokens = tokens
        self.classify = head.head if tokens else head[0]
        self.fuse = nn.Identity()
        self.upsample = Upsample("bilinear")
        channels: list[int] = list(whole.encoder.out_channels)
        self.levels = [] if tokens else [width > 0 for width in channels[1:]]
        self.stream_channels = tuple(width for width in (channels if tokens else channels[1:]) if width > 0)
        self.tap_channels = (self.stream_channels[-2], self.stream_channels[-1])
        self.context_channels = self.stream_channels[-1]
        first = next(module for module in self.classify.modules() if isinstance(module, nn.Conv2d))
        self.neck_channels = self.fused_channels = first.in_channels
        self.input_spec = spec
        self.pooled = max(1, STRIDE // decoder_stride)
        self.anew = anew

    def encode(self, images: Tensor) -> Encoded:
        if self.tokens:
            features, prefix = self.backbone(images)
            beside = tuple(tokens for tokens in prefix if tokens is not None)
        else:
            features, beside = [one for one in self.backbone(images)[1:] if one.shape[1] > 0], ()
        return Encoded(maps=(*features, *beside), middle=features[-2], high=features[-1])

    def join(self, maps: tuple[Tensor, ...], size: tuple[int, int]) -> Joined:
        if self.tokens:
            streams = len(self.stream_channels)
            beside: list[Tensor | None] = [*maps[streams:]] or [None] * streams
            return Joined(context=maps[streams - 1], neck=self.decoder(list(maps[:streams]), beside))
        given = iter(maps)
        height, width = size
        count = maps[0].shape[0]  # not len(), which would fix the batch of an exported program
        levels = [maps[0].new_empty((count, 0, height, width))]  # of the image decoders read the size alone
        for level, there in enumerate(self.levels, 1):
            empty = (count, 0, height >> level, width >> level)
            levels.append(next(given) if there else maps[0].new_empty(empty))
        return Joined(context=maps[-1], neck=self.decoder(levels))

    def compared(self, maps: Tensor) -> Tensor:
        return F.avg_pool2d(maps, self.pooled) if self.pooled > 1 else maps

    def forward(self, images: Tensor, *given: Any, **named: Any) -> Tensor | tuple[Tensor, Tensor] | Features:
        fitted = self._fitted(images)
        found = super().forward(fitted, *given, **named)
        return found[..., : images.shape[-2], : images.shape[-1]] if isinstance(found, Tensor) else found

    def through(self, images: Tensor, head: SegmentationModel) -> Tensor:
        logits = super().through(self._fitted(images), head)
        return logits[..., : images.shape[-2], : images.shape[-1]]

    def _fitted(self, images: Tensor) -> Tensor:
        """Padded to the encoder's multiple."""
        height, width = images.shape[-2:]
        spec = self.input_spec
        below, right = (max(side, spec.smallest) for side in (height, width))
        below, right = (one + -one % spec.multiple - side for one, side in ((below, height), (right, width)))
        if not (below or right):
            return images
        black = [-mean / std for mean, std in zip(spec.mean, spec.std, strict=True)]
        wide = images.new_tensor(black)[:, None, None].expand(*images.shape[:-2], height + below, width + right).clone()
        wide[..., :height, :width] = images
        return wide

    def randomise(self) -> None:
        if self.anew is None:
            return super().randomise()
        self.backbone = own_encoder(self)
        self.load_state_dict(self.anew().state_dict())
