"""FixMatch for pixels: one strong view (methods: section 3)."""

from typing import Annotated, Literal

from pydantic import Field

from trainers.methods.supervised import OhemConfig
from trainers.schema import Section


class FixMatchConfig(Section):
    """FixMatch."""

    name: Literal["fixmatch"]
    conf_thresh: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Confidence threshold: pseudo-labels below it do not train the student."""
    teacher: Literal["shared", "ema"] = "shared"
    """Who makes the pseudo-labels: the student itself, detached, or its moving average."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.996
    """Largest decay of the moving average; used with `teacher: ema`."""
    ema_buffers: Literal["own", "ema", "copy"] = "ema"
    """Batch-norm statistics of the teacher: its own, averaged like the weights, or copied."""
    unsupervised_weight: Annotated[float, Field(ge=0)] = 1.0
    ohem: OhemConfig | None = None
    """Mine hard pixels in the supervised loss (Cityscapes); none: plain cross-entropy."""
