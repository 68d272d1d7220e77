"""The loss of labelled pixels, as the config has it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from trainers.common.depends_on import OnlyIf
from trainers.common.section import Probability, Section

PIXELWISE = ("ce", "focal", "ce+dice", "focal+dice", "ce+lovasz")
CROSS_ENTROPY = ("ce", "ce+dice", "ce+lovasz")
FOCAL = ("focal", "focal+dice")
TWO_PARTS = ("ce+dice", "focal+dice", "ce+lovasz")
LOVASZ = ("lovasz", "ce+lovasz")


class LossConfig(Section):
    """The loss of labelled pixels, the same for every method. A method's weights and its other losses stay as they
    are."""

    labelled: Literal["ce", "focal", "dice", "lovasz", "ce+dice", "focal+dice", "ce+lovasz"] = "ce"
    """`ce`: cross-entropy, of hard pixels where the method has `ohem`; `focal`: cross-entropy times (1 - p)^gamma;
    `dice`: 1 - soft Dice, the mean over classes; `lovasz`: the Lovász extension of 1 - IoU, the mean over images. With
    a plus: the sum of two."""
    focal_gamma: Annotated[float, Field(ge=0), OnlyIf({"labelled": FOCAL})] = 2.0
    """How much less pixels count that are classified well; 0: as in cross-entropy."""
    region_weight: Annotated[float, Field(gt=0), OnlyIf({"labelled": TWO_PARTS})] = 1.0
    """Weight of Dice or Lovász beside the loss of pixels."""
    class_weights: Annotated[
        Literal["none", "frequency"] | tuple[Annotated[float, Field(ge=0)], ...],
        OnlyIf({"labelled": (*PIXELWISE, "dice")}),
    ] = "none"
    """Weights of the classes in all of these losses but Lovász: none, a number for each class, or by how rare a class
    is in the labelled masks. Only their ratios matter: each loss is divided by the weights that it has added up."""
    frequency_power: Annotated[Probability, OnlyIf({"class_weights": "frequency"})] = 0.5
    """`frequency`: the weight of a class is its share of the labelled pixels to minus this power; 1: classes have equal
    weight in total, 0: pixels have."""

    @model_validator(mode="after")
    def _some_weight(self) -> Self:
        if not isinstance(self.class_weights, str) and not any(self.class_weights):
            raise ValueError("class_weights are all 0; give at least one class a weight above 0")
        return self
