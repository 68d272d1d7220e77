"""DeepLabV3+ (methods: section 19): encoder, ASPP, stride-4 decoder."""

from typing import cast

import torch
from torch import Tensor, nn

from trainers.common.errors import ConfigError
from trainers.interface.input_spec import InputSpec
from trainers.models.backbones import Encoder
from trainers.models.interface import Encoded, Joined, SegmentationModel
from trainers.models.upsample import Upsample


def _conv_bn(inputs: int, outputs: int, *, kernel: int, dilation: int = 1) -> nn.Sequential:
    padding = dilation if kernel == 3 else 0
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


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


class DeepLabV3Plus(SegmentationModel):
    """Of the encoder's stages the decoder takes the one of stride 4 and the last, (B, C1, h, w) and (B, C4, ...).

    ASPP and decoder are an eighth of the last stage wide, at least 32: 256 on ResNet-50 and 101, 64 on 18 and 34. The
    context is ASPP's output; the neck has it and the stride-4 features beside each other.
    """

    def __init__(self, backbone: Encoder, *, num_classes: int, rates: tuple[int, int, int], upsample: str) -> None:
        super().__init__()
        low, high = backbone.channels
        width = max(high // 8, 32)
        self.backbone = backbone
        self.stream_channels = (low, high)
        self.tap_channels = (backbone.middle_channels, high)
        self.fused_channels = self.context_channels = width
        self.neck_channels = width + min(48, low)
        self.input_spec = InputSpec()
        self.upsample = Upsample(upsample)
        self.aspp = Aspp(high, width=width, rates=rates, upsample=self.upsample)
        self.reduce = _conv_bn(low, min(48, low), kernel=1)
        self.fuse = nn.Sequential(_conv_bn(self.neck_channels, width, kernel=3), _conv_bn(width, width, kernel=3))
        self.classify = nn.Conv2d(width, num_classes, 1)

    def encode(self, images: Tensor) -> Encoded:
        low, middle, high = cast(Encoder, self.backbone).stages(images)
        return Encoded(maps=(low, high), middle=middle, high=high)

    def join(self, maps: tuple[Tensor, ...], size: tuple[int, int]) -> Joined:
        low, high = maps
        context = self.aspp(high)
        reduced, wide = self.reduce(low), self.upsample(context, (low.shape[-2], low.shape[-1]))
        return Joined(context=context, neck=torch.cat([reduced, wide.to(reduced.dtype)], dim=1))
