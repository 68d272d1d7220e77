"""UniMatch: two strong image views and a feature-dropout view (methods: section 2)."""

from typing import Annotated, Literal

from pydantic import Field

from trainers.methods.supervised import OhemConfig
from trainers.schema import Section

Weight = Annotated[float, Field(ge=0)]


class UniMatchConfig(Section):
    """UniMatch. Weights are those inside the outer 1/2 of its loss."""

    name: Literal["unimatch"]
    conf_thresh: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Confidence threshold: pseudo-labels below it do not train the student."""
    teacher: Literal["shared", "ema"] = "shared"
    """Who makes the pseudo-labels: the student itself, detached, or its moving average."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.996
    """Largest decay of the moving average; used with `teacher: ema`."""
    ema_buffers: Literal["own", "ema", "copy"] = "ema"
    """Batch-norm statistics of the teacher: its own, averaged like the weights, or copied."""
    strong1_weight: Weight = 0.25
    strong2_weight: Weight = 0.25
    feature_weight: Weight = 0.5
    """Weight of the feature-dropout stream."""
    feature_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Probability that a channel is dropped in the feature-dropout stream."""
    ohem: OhemConfig | None = None
    """Mine hard pixels in the supervised loss (Cityscapes); none: plain cross-entropy."""
