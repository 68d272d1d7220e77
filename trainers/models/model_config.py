"""The network, as the config has it."""

from typing import Annotated, Literal

from trainers.common.depends_on import OnlyIf
from trainers.common.section import Section


class ModelConfig(Section):
    """DeepLabV3+ (methods: section 19)."""

    backbone: Literal["small", "resnet18", "resnet34", "resnet50", "resnet101"] = "resnet50"
    """`small` is a narrow residual network that a CPU trains in seconds."""
    output_stride: Literal[8, 16] = 16
    """Stride of the last stage; 16 uses ASPP rates 6/12/18, 8 uses 12/24/36."""
    stem: Annotated[Literal["7x7", "deep"], OnlyIf({"backbone": ("resnet18", "resnet34", "resnet50", "resnet101")})] = (
        "7x7"
    )
    """`deep`: three 3x3 convolutions, as UniMatch; torchvision's weights fit only `7x7`."""
    upsample: Literal["bilinear", "nearest"] = "bilinear"
    """All upsampling inside the network; `nearest` is IPixMatch's deterministic setting."""
    weights: str = "imagenet"
    """`imagenet` (torchvision's, from its cache or the network), `none`, or the path of a backbone state dict."""
