"""Encoders: torchvision's ResNets with dilated last stages, and a small one that a CPU trains in seconds.

Each maps images (B, 3, H, W) to features of stride 4 and of the last stage; ``channels`` are their widths, and
``middle_channels`` that of the last stage but one.
"""

from typing import Any, Literal, cast

import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

Name = Literal["small", "resnet18", "resnet34", "resnet50", "resnet101"]


class Encoder(nn.Module):
    """Any encoder: ``channels`` are the widths of the stride-4 and the last features, ``middle_channels`` that of the
    stage before the last."""

    channels: tuple[int, int]
    middle_channels: int

    def stages(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features of stride 4, of the last stage but one, and of the last."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        low, _, high = self.stages(images)
        return low, high


class Backbone(Encoder):
    """A ResNet without pooling and classifier, under torchvision's parameter names."""

    def __init__(self, resnet: ResNet) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu, self.maxpool = resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool
        self.layer1, self.layer2 = resnet.layer1, resnet.layer2
        self.layer3, self.layer4 = resnet.layer3, resnet.layer4
        self.channels = (_width(resnet.layer1), _width(resnet.layer4))
        self.middle_channels = _width(resnet.layer3)

    def stages(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        low: Tensor = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(images)))))
        middle: Tensor = self.layer3(self.layer2(low))
        return low, middle, self.layer4(middle)


class SmallBackbone(Encoder):
    """Three residual stages of strides 4, 8 and 16 (or 8), 24 to 64 channels wide; not a torchvision model."""

    def __init__(self, *, output_stride: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
        )
        self.stage4 = _small_stage(16, 24, stride=2)
        self.stage8 = _small_stage(24, 40, stride=2)
        self.stage16 = _small_stage(40, 64, stride=2 if output_stride == 16 else 1)
        self.channels = (24, 64)
        self.middle_channels = 40

    def stages(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        low: Tensor = self.stage4(self.stem(images))
        middle: Tensor = self.stage8(low)
        return low, middle, self.stage16(middle)


def _small_stage(inputs: int, outputs: int, *, stride: int) -> nn.Sequential:
    shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))
    return nn.Sequential(BasicBlock(inputs, outputs, stride, shortcut), BasicBlock(outputs, outputs))


def _width(stage: nn.Sequential) -> int:
    last = stage[-1]
    final = last.conv3 if isinstance(last, Bottleneck) else last.conv2
    assert isinstance(final, nn.Conv2d)
    return final.out_channels


def build_backbone(name: Name, *, output_stride: Literal[8, 16], stem: Literal["7x7", "deep"]) -> Encoder:
    """An encoder with random weights.

    A stage that loses its stride is dilated instead: its first block keeps the dilation before it, the others take
    the new one, as torchvision does for bottleneck networks (it refuses to for ResNet-18 and 34, so it is done here).
    """
    if name == "small":
        return SmallBackbone(output_stride=output_stride)
    resnet: ResNet = getattr(torchvision.models, name)(weights=None)
    dilation = 1
    for stage, unstrided in ((resnet.layer3, output_stride == 8), (resnet.layer4, True)):
        if unstrided:
            _dilate(stage, before=dilation, after=2 * dilation)
            dilation *= 2
    if stem == "deep":
        _deepen(resnet)
    return Backbone(resnet)


def _dilate(stage: nn.Sequential, *, before: int, after: int) -> None:
    for index, block in enumerate(stage):
        rate = before if index == 0 else after
        for conv in (module for module in block.modules() if isinstance(module, nn.Conv2d)):
            conv.stride = (1, 1)
            if conv.kernel_size == (3, 3):
                conv.dilation = conv.padding = (rate, rate)


def _deepen(resnet: ResNet) -> None:
    """Three 3x3 convolutions, the last 128 wide, in place of the 7x7."""
    resnet.conv1 = nn.Sequential(
        nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.Conv2d(64, 64, 3, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.Conv2d(64, 128, 3, padding=1, bias=False),
    )
    resnet.bn1 = nn.BatchNorm2d(128)
    first = resnet.layer1[0]
    narrow = first.conv1
    first.conv1 = nn.Conv2d(128, narrow.out_channels, narrow.kernel_size, padding=narrow.padding, bias=False)
    width = _width(resnet.layer1)
    first.downsample = nn.Sequential(nn.Conv2d(128, width, 1, bias=False), nn.BatchNorm2d(width))
    for module in (*resnet.conv1.modules(), first.conv1, first.downsample[0]):
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def with_bands(backbone: Encoder, bands: int) -> None:
    """Another first convolution, for images of so many bands."""
    name = first_convolution(backbone)
    parent, _, own = name.rpartition(".")
    first = cast(Any, backbone.get_submodule(name))
    shape = {"kernel_size": first.kernel_size, "stride": first.stride, "padding": first.padding}
    setattr(backbone.get_submodule(parent), own, nn.Conv2d(bands, first.out_channels, bias=False, **shape))


def first_convolution(backbone: nn.Module) -> str:
    """Name of the backbone's first convolution."""
    return next(str(name) for name, module in backbone.named_modules() if isinstance(module, nn.Conv2d))
