"""UniMatch V2's network (methods: section 23): a DINOv2 encoder and a DPT head without batch norm and dropout.

Shape letters: B images, C classes, H x W input pixels, h x w = H / 14 x W / 14 tokens of width D; F channels of the
head's fusions.
"""

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from trainers.interface.input_spec import InputSpec
from trainers.models.dinov2 import PATCH, DinoV2, Shape
from trainers.models.interface import Encoded, Joined, SegmentationModel
from trainers.models.upsample import Upsample


class ResidualUnit(nn.Module):
    """x + conv(relu(conv(relu(x)))), both convolutions 3x3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        changed: Tensor = self.conv2(self.conv1(features.relu()).relu())
        return features + changed


class Fusion(nn.Module):
    """RefineNet's: what comes from below plus the level's own features through a unit, a second unit, bilinear
    upsampling, 1x1 convolution.

    Args:
        lowest: of the coarsest level, to which nothing comes from below. Its first unit is never used; it is there, and
            frozen, since the released network has it.
    """

    def __init__(self, channels: int, *, upsample: Upsample, lowest: bool) -> None:
        super().__init__()
        self.own, self.both = ResidualUnit(channels), ResidualUnit(channels)
        self.project = nn.Conv2d(channels, channels, 1)
        self.upsample = upsample
        if lowest:
            self.own.requires_grad_(False)

    def forward(self, level: Tensor, below: Tensor | None, size: tuple[int, int]) -> Tensor:
        joined = level if below is None else below + self.own(level)
        fused: Tensor = self.project(self.upsample(self.both(joined), size))
        return fused


class ByPatches(Upsample):
    """Bilinear with aligned corners, by way of the sides' nearest multiples of 14, at which the network ran: for images
    of other sizes, UniMatch V2 brings the logits of the resized image back in a second step."""

    def __init__(self) -> None:
        super().__init__("bilinear")

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        whole = patched(size)
        features = super().forward(features, whole)
        return features if whole == size else super().forward(features, size)


class Dpt(SegmentationModel):
    """The head brings the tokens of four blocks, the shallowest first, to 4, 2, 1 and 1 / 2 times their number a side
    and fuses them from the deepest up; the neck (B, F, 8 h, 8 w) is what comes out, at 8 / 14 of the input's size, and
    the context (B, F, h, w) the deepest of the fusions.

    Images whose sides are no multiples of 14 are resized, bilinear with aligned corners, to the nearest ones, and their
    logits back.

    Args:
        shape: of the encoder and the head.
        drop_path: see :class:`DinoV2`.
        checkpointing: compute the encoder's blocks again in the backward pass instead of keeping them.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        num_classes: int,
        input_spec: InputSpec,
        drop_path: float = 0.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        width = shape.fused
        encoder = DinoV2(shape, in_channels=input_spec.bands, drop_path=drop_path)
        encoder.set_grad_checkpointing(checkpointing)
        self.backbone = encoder
        self.input_spec = input_spec
        self.stream_channels = (shape.width,) * 4
        self.tap_channels = (shape.width, shape.width)
        self.neck_channels = self.fused_channels = self.context_channels = width
        self.upsample = ByPatches()
        first, second, _, fourth = shape.reassembled
        self.project = nn.ModuleList(nn.Conv2d(shape.width, channels, 1) for channels in shape.reassembled)
        self.resize = nn.ModuleList(
            [
                nn.ConvTranspose2d(first, first, 4, stride=4),
                nn.ConvTranspose2d(second, second, 2, stride=2),
                nn.Identity(),
                nn.Conv2d(fourth, fourth, 3, stride=2, padding=1),
            ]
        )
        self.reduce = nn.ModuleList(
            nn.Conv2d(channels, width, 3, padding=1, bias=False) for channels in shape.reassembled
        )
        upsample = Upsample("bilinear")
        self.fusions = nn.ModuleList(Fusion(width, upsample=upsample, lowest=level == 3) for level in range(4))
        self.fuse = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True))
        self.classify = nn.Conv2d(width, num_classes, 1)

    def encode(self, images: Tensor) -> Encoded:
        size = (images.shape[-2], images.shape[-1])
        whole = patched(size)
        maps = cast(DinoV2, self.backbone).maps(images if whole == size else self.upsample(images, whole))
        return Encoded(maps=maps, middle=maps[2], high=maps[3])

    def join(self, maps: tuple[Tensor, ...], size: tuple[int, int]) -> Joined:
        levels = [
            reduce(resize(project(tokens)))
            for tokens, project, resize, reduce in zip(maps, self.project, self.resize, self.reduce, strict=True)
        ]
        sizes = [(level.shape[-2], level.shape[-1]) for level in levels]
        context = path = self.fusions[3](levels[3], None, sizes[2])
        for level, to in ((2, sizes[1]), (1, sizes[0]), (0, (2 * sizes[0][0], 2 * sizes[0][1]))):
            path = self.fusions[level](levels[level], path, to)
        return Joined(context=context, neck=path)

    def compared(self, maps: Tensor) -> Tensor:
        """Pooled to stride 3.5: a quarter of the places."""
        return F.avg_pool2d(maps, 2)


def patched(size: tuple[int, int]) -> tuple[int, int]:
    """The sides' nearest multiples of 14, the larger one of two, 14 at least."""
    height, width = (max(PATCH, int(side / PATCH + 0.5) * PATCH) for side in size)
    return height, width
