"""Weak and strong views, as the config has them."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from trainers.common.depends_on import Above, OnlyIf
from trainers.common.section import Probability, Section

JITTERED, BLURRED, BOXED = (OnlyIf({key: Above(0)}) for key in ("jitter_p", "blur_p", "cutmix_p"))
COLOURED = OnlyIf({"model.in_channels": (1, 3)})
"""Images are RGB, also where the network sees their grey."""


class ViewsConfig(Section):
    """Weak and strong views. Defaults are the UniMatch family's (methods: section 0)."""

    scale_min: Annotated[float, Field(gt=0)] = 0.5
    """Long side of the resized image as a share of the image's own long side: lower end."""
    scale_max: Annotated[float, Field(gt=0)] = 2.0
    """Upper end of the same."""
    flip_p: Probability = 0.5
    """Probability of a horizontal flip."""
    jitter_p: Probability = 0.8
    """Probability of colour jitter in a strong view."""
    brightness: Annotated[float, Field(ge=0), JITTERED] = 0.5
    """Brightness factor is drawn from [1 - b, 1 + b]."""
    contrast: Annotated[float, Field(ge=0), JITTERED] = 0.5
    """Contrast factor, likewise."""
    saturation: Annotated[float, Field(ge=0), JITTERED, COLOURED] = 0.5
    """Saturation factor, likewise."""
    hue: Annotated[float, Field(ge=0, le=0.5), JITTERED, COLOURED] = 0.25
    """Hue shift is drawn from [-h, h]."""
    gray_p: Annotated[Probability, COLOURED] = 0.2
    """Probability that a strong view is made grey."""
    blur_p: Probability = 0.5
    """Probability of a Gaussian blur in a strong view."""
    blur_sigma_min: Annotated[float, Field(gt=0), BLURRED] = 0.1
    """Lower end of the blur's sigma, in pixels."""
    blur_sigma_max: Annotated[float, Field(gt=0), BLURRED] = 2.0
    """Upper end of the blur's sigma, in pixels."""
    cutmix_p: Probability = 0.5
    """Probability of a CutMix box, per strong view and image."""
    cutmix_area_min: Annotated[float, Field(gt=0, le=1), BOXED] = 0.02
    """Smallest area of the box as a share of the crop."""
    cutmix_area_max: Annotated[float, Field(gt=0, le=1), BOXED] = 0.4
    """Largest area of the box as a share of the crop."""
    cutmix_ratio_min: Annotated[float, Field(gt=0, le=1), BOXED] = 0.3
    """Aspect ratio is drawn from [r, 1 / r]."""
    cutmix_boxes: Annotated[int, Field(ge=1), BOXED] = 1
    """Boxes of one mask, each with its share of the area. A pixel that two of them cover is left as it was, as in CPS:
    that of three is pasted again."""
    cutmix_partner: Literal["second_view", "batch"] = "second_view"
    """`second_view`: paste another random view of the same image (UniMatch's code). `batch`: paste the neighbour in
    the batch, which saves a forward pass and needs at least 2 unlabelled images per process."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for low, high in (
            ("scale_min", "scale_max"),
            ("blur_sigma_min", "blur_sigma_max"),
            ("cutmix_area_min", "cutmix_area_max"),
        ):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} = {getattr(self, low)} is above {high} = {getattr(self, high)}")
        return self
