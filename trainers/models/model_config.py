"""The network, as the config has it."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from trainers.common.depends_on import OnlyIf
from trainers.common.section import Section

DEEPLAB, SMP = OnlyIf({"name": "deeplabv3plus"}), OnlyIf({"name": "smp"})
Share = Annotated[float, Field(ge=0, lt=1)]
Architecture = Literal[
    "unet",
    "unetplusplus",
    "manet",
    "linknet",
    "fpn",
    "pspnet",
    "deeplabv3",
    "deeplabv3plus",
    "pan",
    "upernet",
    "segformer",
    "dpt",
]


class ModelConfig(Section):
    """The network. Which keys it has depends on `name`; the others are passed over."""

    name: Literal["deeplabv3plus", "smp", "dinov2_dpt"] = "deeplabv3plus"
    """`deeplabv3plus`: DeepLabV3+ as UniMatch has it (methods: section 19). `smp`: any architecture of
    segmentation_models.pytorch on any of its encoders and timm's (section 24; docs/reference/models.md).
    `dinov2_dpt`: DINOv2 with a DPT head, as UniMatch V2 has it (section 23); crops are multiples of 14."""
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
    architecture: Annotated[Architecture, SMP] = "unet"
    """The decoder. `dpt` is for plain vision transformers, all others for encoders with stages of strides 2, 4, 8."""
    encoder: Annotated[str, SMP] = "resnet34"
    """A name of smp's own (`resnet34`, `mit_b2`), or `tu-` and a name of timm's, with its weights' tag after a point:
    `tu-convnext_tiny.fb_in22k`, `tu-vit_small_patch16_dinov3.lvd1689m`."""
    options: Annotated[dict[str, Any], SMP] = Field(default_factory=dict)
    """Further arguments of the architecture (`decoder_channels: [128, 64, 32, 16, 8]`) and, of timm's encoders, of the
    encoder (`img_size: 512`), under the libraries' names."""
    dropout: Annotated[Share, SMP] = 0.0
    """Of the decoder, where it has one; the library's own is 0.5 in DeepLab, 0.2 in FPN and PSPNet, 0.1 in DPT. Makes
    the labels of a teacher that shares the student's pass noisy."""
    drop_path: Annotated[Share, OnlyIf({"name": ("smp", "dinov2_dpt")})] = 0.0
    """Stochastic depth of the encoder's last block, where it has one; it rises to there from 0. As noisy."""
    checkpointing: Annotated[bool, OnlyIf({"name": ("smp", "dinov2_dpt")})] = False
    """Compute the encoder's blocks again in the backward pass instead of keeping them: less memory, about a third more
    time. Batch norm in the encoder then sees every batch twice."""
    freeze: bool = False
    """The encoder's weights stay as they are, its batch norm and dropout as in evaluation; only the rest trains."""
    in_channels: Annotated[int, Field(ge=1)] = 3
    """Bands that the network sees: 3; 1, the grey of the image; or as many as `data.bands` says. For 1 the first
    convolution's pretrained filters are summed over the bands. For other numbers they are those of red, green and blue
    in turn, times 3 / bands, as timm and smp have it."""
    mean: tuple[float, ...] | None = None
    """Mean of each band, in 0 .. 1, that is subtracted from the images. None: that of the encoder's published weights,
    by the library's table, ImageNet's where it has none; of other than one or three bands it has to be given."""
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    """Deviation of each band, by which they are divided, likewise."""
    weights: str = "imagenet"
    """`imagenet`: the published ones of the backbone or encoder, torchvision's or the hub's, from its cache or the
    network, whatever data they are of (smp's own encoders have further tags, such as `ssl`). `none`; or the path of a
    backbone's or encoder's state dict, or of a checkpoint of an earlier run (checkpoints/best.pt), from which all is
    taken; with another number of classes the classifier is new."""

    @model_validator(mode="after")
    def _a_value_a_band(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise ValueError("give mean and std together, or neither")
        if self.mean is None and self.in_channels not in (1, 3):
            raise ValueError(
                f"in_channels = {self.in_channels}: no encoder says how so many bands are normalised; give mean and "
                f"std with {self.in_channels} values each, in 0 .. 1 (ipix-tune init measures them)"
            )
        for name in ("mean", "std"):
            given = getattr(self, name)
            if given is not None and len(given) != self.in_channels:
                raise ValueError(f"{name} has {len(given)} values, one for each of {self.in_channels} bands is wanted")
        return self
