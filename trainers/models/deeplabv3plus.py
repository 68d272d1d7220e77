"""DeepLabV3+ (methods: section 19): encoder, ASPP, stride-4 decoder, and the feature-dropout stream of UniMatch.

Shape letters: B images, C classes, H x W input pixels. C1, C4 channels of the stride-4 and the last stage.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.common.errors import ConfigError
from trainers.common.float32 import exact, without_autocast
from trainers.models.backbones import Encoder


def _conv_bn(inputs: int, outputs: int, *, kernel: int, dilation: int = 1) -> nn.Sequential:
    padding = dilation if kernel == 3 else 0
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Upsample(nn.Module):
    """The one way in which the network upsamples, bilinear with aligned corners, or nearest: as a matrix product along
    each side. On a CPU that is several times as fast as `F.interpolate` and its gradient, on a GPU deterministic.
    Computed and given in float32 or more, also under autocast: weights that are rounded to bf16 do not add up to 1."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, C, h, w) -> (B, C, *size) in the same memory layout."""
        with without_autocast(features.device):
            return self._product(exact(features), size)

    def _product(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        (height, width), (batch, channels) = features.shape[-2:], features.shape[:2]
        down, across = (
            _weights(self.mode, before, after, features.device, features.dtype)
            for before, after in ((height, size[0]), (width, size[1]))
        )
        if features.is_contiguous(memory_format=torch.channels_last) and not features.is_contiguous():
            last = features.permute(0, 2, 3, 1).reshape(batch * height, width, channels)
            wide = torch.bmm(across.expand(len(last), -1, -1), last).view(batch, height, size[1] * channels)
            whole = torch.bmm(down.expand(batch, -1, -1), wide).view(batch, *size, channels)
            return whole.permute(0, 3, 1, 2)
        wide = features.reshape(-1, width) @ across.mT
        maps = wide.view(batch * channels, height, size[1])
        return torch.bmm(down.expand(len(maps), -1, -1), maps).view(batch, channels, *size)


_KEPT: dict[tuple[str, int, int, torch.device, torch.dtype], Tensor] = {}


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _weights(mode: str, before: int, after: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """What each of ``after`` pixels takes of ``before`` ones along one side, (after, before): what `F.interpolate`
    makes of unit vectors.

    Made once and kept on the device, in a table of its own: Dynamo ignores `functools.cache` and traces into it, so
    that every compiled forward pass would make the weights again and copy them from the host. Tensors without values
    (`FakeTensorMode`) are not kept."""
    if torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE) is not None:
        return _made_weights(mode, before, after, device, dtype)
    key = (mode, before, after, device, dtype)
    if key not in _KEPT:
        _KEPT[key] = _made_weights(mode, before, after, device, dtype)
    return _KEPT[key]


def _made_weights(mode: str, before: int, after: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    units = torch.eye(before, dtype=torch.float64)[None]
    if mode == "nearest":
        weights = F.interpolate(units, size=after, mode="nearest")
    else:
        weights = F.interpolate(units, size=after, mode="linear", align_corners=True)
    return weights[0].T.contiguous().to(device, dtype)


class Aspp(nn.Module):
    """Atrous spatial pyramid pooling: 1x1, three dilated 3x3 and image pooling, each to ``width`` channels.

    Raises:
        ConfigError: in training, of a single image: pooled, it is one value per channel, which has no batch statistics.
    """

    def __init__(self, channels: int, *, width: int, rates: tuple[int, int, int], upsample: Upsample) -> None:
        super().__init__()
        self.local = _conv_bn(channels, width, kernel=1)
        self.dilated = nn.ModuleList(_conv_bn(channels, width, kernel=3, dilation=rate) for rate in rates)
        self.image = _conv_bn(channels, width, kernel=1)
        self.project = _conv_bn(5 * width, width, kernel=1)
        self.upsample = upsample

    def forward(self, features: Tensor) -> Tensor:
        if self.training and len(features) == 1 and type(self.image[1]) is nn.BatchNorm2d:
            raise ConfigError(
                "data.batch_size: a training step ran on 1 image, and the model's image pooling needs at least 2 for "
                "its batch norm; set data.batch_size to 2 or more, for each process where optim.batch_norm is device"
            )
        size = (features.shape[-2], features.shape[-1])
        pooled = self.upsample(self.image(features.mean(dim=(2, 3), keepdim=True)), size)
        local = self.local(features)
        mixed: Tensor = self.project(
            torch.cat([local, *(one(features) for one in self.dilated), pooled.to(local.dtype)], dim=1)
        )
        return mixed


class Features(NamedTuple):
    """A forward pass with what it went through. Stride 4: h x w; W is the decoder's width.

    ``logits`` (B, C, H, W); ``coarse`` (B, C, h, w), the same before upsampling; ``fused`` (B, W, h, w), what the
    classifier takes; ``low`` (B, C1, h, w), ``middle`` and ``high`` (B, C4, ...): the encoder's stride-4, last but one
    and last stage; ``context`` (B, W, ...), what ASPP made of the last; ``neck`` (B, N, h, w), context and low-level
    features beside each other, what the decoder's convolutions take.
    """

    logits: Tensor
    coarse: Tensor
    fused: Tensor
    low: Tensor
    middle: Tensor
    high: Tensor
    context: Tensor
    neck: Tensor


class DeepLabV3Plus(nn.Module):
    """Encoder and decoder. ``backbone`` is one optimiser group, all else the head.

    ASPP and decoder are an eighth of the last stage wide, at least 32: 256 on ResNet-50 and 101, 64 on 18 and 34.

    ``stream_channels`` = (C1, C4): channels of the two feature maps that feature dropout acts on. ``fused_channels``:
    W, of what the classifier takes; ``context_channels``: of ASPP's output; ``neck_channels``: N, of both features
    beside each other.
    """

    def __init__(self, backbone: Encoder, *, num_classes: int, rates: tuple[int, int, int], upsample: str) -> None:
        super().__init__()
        low, high = backbone.channels
        width = max(high // 8, 32)
        self.backbone = backbone
        self.stream_channels = (low, high)
        self.fused_channels = self.context_channels = width
        self.neck_channels = width + min(48, low)
        self.upsample = Upsample(upsample)
        self.aspp = Aspp(high, width=width, rates=rates, upsample=self.upsample)
        self.reduce = _conv_bn(low, min(48, low), kernel=1)
        self.fuse = nn.Sequential(_conv_bn(self.neck_channels, width, kernel=3), _conv_bn(width, width, kernel=3))
        self.classify = nn.Conv2d(width, num_classes, 1)

    def neck(self, low: Tensor, high: Tensor) -> Tensor:
        """Stride-4 features with their context beside them, (B, W + ..., h, w)."""
        return self._joined(low, self.aspp(high))

    def _joined(self, low: Tensor, context: Tensor) -> Tensor:
        reduced, context = self.reduce(low), self.upsample(context, (low.shape[-2], low.shape[-1]))
        return torch.cat([reduced, context.to(reduced.dtype)], dim=1)

    def tail(self, necked: Tensor) -> Tensor:
        """Logits (B, C, h, w) of what :meth:`neck` gave: the decoder's own convolutions."""
        logits: Tensor = self.classify(self.fuse(necked))
        return logits

    def decode(self, low: Tensor, high: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits (B, C, *size) from the stride-4 and last-stage features, class by class in memory: the losses go over
        pixels."""
        logits: Tensor = self.upsample(self.tail(self.neck(low, high)).contiguous(), size)
        return logits

    def forward(
        self,
        images: Tensor,
        dropout: tuple[Tensor, Tensor] | None = None,
        perturb: Callable[[Tensor], Tensor] | None = None,
        features: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor] | Features:
        """Logits (B, C, H, W) of images (B, 3, H, W).

        Args:
            dropout: multipliers (B, C1, 1, 1) and (B, C4, 1, 1); then also the logits of the dropped features. The
                decoder runs once on both halves, so that both are in its batch statistics.
            perturb: applied to what :meth:`tail` takes.
            features: give all :class:`Features`.
        """
        size = (images.shape[-2], images.shape[-1])
        if features or perturb is not None:
            low, middle, high = self.backbone.stages(images)
            context = self.aspp(high)
            necked = self._joined(low, context)
            fused = self.fuse(necked if perturb is None else perturb(necked))
            coarse = self.classify(fused)
            every = Features(
                self.upsample(coarse.contiguous(), size), coarse, fused, low, middle, high, context, necked
            )
            return every if features else every.logits
        low, high = self.backbone(images)
        if dropout is None:
            return self.decode(low, high, size)
        keep_low, keep_high = (mask.to(low.dtype) for mask in dropout)
        logits = self.decode(torch.cat([low, low * keep_low]), torch.cat([high, high * keep_high]), size)
        plain, dropped = logits.chunk(2)
        return plain, dropped
