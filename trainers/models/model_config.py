"""The network, as the config has it."""

from typing import Annotated, Literal

from trainers.common.depends_on import OnlyIf
from trainers.common.section import Section

DEEPLAB = OnlyIf({"name": "deeplabv3plus"})


class ModelConfig(Section):
    """The network. Which keys it has depends on `name`; the others are passed over."""

    name: Literal["deeplabv3plus", "dinov2_dpt"] = "deeplabv3plus"
    """`deeplabv3plus`: DeepLabV3+ as UniMatch has it (methods: section 19). `dinov2_dpt`: DINOv2 with a DPT head, as
    UniMatch V2 has it (section 23); crops are multiples of 14."""
    size: Annotated[Literal["tiny", "small", "base", "large"], OnlyIf({"name": "dinov2_dpt"})] = "base"
    """Of DINOv2: 25, 98 and 336 million parameters with the head; `tiny` is for tests on a CPU, without weights."""
    backbone: Annotated[Literal["small", "resnet18", "resnet34", "resnet50", "resnet101"], DEEPLAB] = "resnet50"
    """`small` is a narrow residual network that a CPU trains in seconds."""
    output_stride: Annotated[Literal[8, 16], DEEPLAB] = 16
    """Stride of the last stage; 16 uses ASPP rates 6/12/18, 8 uses 12/24/36."""
    stem: Annotated[
        Literal["7x7", "deep"], DEEPLAB, OnlyIf({"backbone": ("resnet18", "resnet34", "resnet50", "resnet101")})
    ] = "7x7"
    """`deep`: three 3x3 convolutions, as UniMatch; torchvision's weights fit only `7x7`."""
    upsample: Annotated[Literal["bilinear", "nearest"], DEEPLAB] = "bilinear"
    """All upsampling inside the network; `nearest` is IPixMatch's deterministic setting."""
    weights: str = "imagenet"
    """`imagenet` (torchvision's, from its cache or the network) or, of DINOv2, `dinov2` (timm's, likewise); `none`, or
    the path of an encoder's state dict, or of a checkpoint of an earlier run (checkpoints/best.pt), from which all is
    taken; with another number of classes the classifier is new."""
