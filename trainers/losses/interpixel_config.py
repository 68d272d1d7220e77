"""The inter-pixel loss, as the config has it."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from trainers.common.depends_on import Above, OnlyIf
from trainers.common.section import Probability, Section


class InterPixelConfig(Section):
    """The inter-pixel loss (methods: section 1). alpha = 0 switches it off: the run is then the base method, bit
    for bit."""

    section_only_if: ClassVar[OnlyIf | None] = OnlyIf({"alpha": Above(0)})

    alpha: Annotated[float, Field(ge=0)] = 0.0
    """Weight alpha of the loss."""
    distance: Literal["kl", "cr"] = "kl"
    """`kl`: Kullback-Leibler, teacher first. `cr`: 1 - Pearson correlation."""
    temperature: Annotated[float, Field(gt=0)] = 4.0
    """Temperature t of the softmax over pixels."""
    tau: Annotated[float, Field(ge=0, lt=1)] = 0.8
    """A pixel is in Omega where the teacher's largest class probability is above tau."""
    warmup_fraction: Annotated[Probability, OnlyIf({"warmup_epochs": None})] = 0.0625
    """Length of the Gaussian ramp as a share of the whole training; 5 of 80 epochs is the paper's VOC setting."""
    warmup_epochs: Annotated[float, Field(ge=0)] | None = None
    """The same length in epochs; when given, it takes the place of `warmup_fraction`."""
    t2_scale: Annotated[bool, OnlyIf({"distance": "kl"}, refused=True)] = False
    """Multiply the KL by t^2: it falls as 1 / t^2, so that alpha then means the same at every t. Search alpha and t
    jointly only with true. Refused with `cr`, whose gradient hardly depends on t."""
    domain: Annotated[Literal["omega", "full"], OnlyIf({"distance": "kl"})] = "omega"
    """Pixels over which the softmax runs: Omega, or the whole map (then the sum is still over Omega). A correlation is
    free of scale, so that `cr` is the same under both."""
    target: Literal["mixed", "per_region"] = "mixed"
    """Under CutMix: one softmax over the mixed map, or one inside and one outside the box."""
    resolution: Literal["input", "stride4"] = "input"
    """Logits at the crop's size, or subsampled to stride 4 (about 16 times cheaper)."""
    views: Literal["s1s2", "s1s2fp"] = "s1s2"
    """Student outputs that it is averaged over; `s1s2fp` adds the feature-dropout stream where the method has one."""
    normalise_cr: Annotated[bool, OnlyIf({"distance": "cr"})] = True
    """Keep the factor 1 / log|Omega| for `cr` too, as the paper's Eq. 2 reads."""

    @model_validator(mode="after")
    def _t2_is_for_kl(self) -> Self:
        if self.t2_scale and self.distance != "kl":
            former = self.alpha * self.temperature**2
            raise ValueError(
                f"t2_scale: true does not go with distance: {self.distance}: only the KL falls as 1 / t^2; leave it "
                "out, or set distance: kl (a study that searches both: only_if: {interpixel.distance: kl}). Earlier "
                f"versions multiplied the correlation too: alpha = {former:g} without t2_scale is that loss"
            )
        return self
