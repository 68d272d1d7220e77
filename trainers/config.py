"""The whole training config, typed. `trainers.yamlfile` reads it from YAML and writes it back.

Symbols of the papers and their names here: tau `interpixel.tau`, t `interpixel.temperature`,
alpha `interpixel.alpha`, CutMix box `views.cutmix_*`, confidence threshold `method.conf_thresh`.
Sizes of batches are totals over all processes.
"""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from trainers.data import DataConfig
from trainers.methods.registry import MethodConfig
from trainers.onlyif import Above, OnlyIf
from trainers.schema import Section

Probability = Annotated[float, Field(ge=0, le=1)]
JITTERED, BLURRED, BOXED = (OnlyIf({key: Above(0)}) for key in ("jitter_p", "blur_p", "cutmix_p"))


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
    saturation: Annotated[float, Field(ge=0), JITTERED] = 0.5
    """Saturation factor, likewise."""
    hue: Annotated[float, Field(ge=0, le=0.5), JITTERED] = 0.25
    """Hue shift is drawn from [-h, h]."""
    gray_p: Probability = 0.2
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


class OptimConfig(Section):
    """Optimiser."""

    name: Literal["sgd", "adamw"] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.001
    """Learning rate of the backbone at step 0."""
    head_lr_multiplier: Annotated[float, Field(gt=0)] = 10.0
    """Learning rate of everything else, as a multiple of `lr`."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """SGD's momentum; AdamW's beta_1."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest L2 norm of the gradient; none: no clipping."""
    accumulate: Annotated[int, Field(ge=1)] = 1
    """Parts of a process's batch that are computed one after the other, to save memory; the step is taken on the mean
    of their gradients. Batch norm, the losses' divisors and an in-batch CutMix partner see one part at a time, so that
    the curve is not that of 1."""
    denominator: Literal["global", "device"] = "global"
    """Divisor of a loss that is a sum over pixels: counted over all processes (the result does not depend on how
    many there are), or per process as in UniMatch's code. The same with one process."""


class ScheduleConfig(Section):
    """How long, and how the learning rate falls: lr * (1 - it / T) ** poly_power, in each stage of a method anew."""

    epochs: Annotated[int, Field(ge=1)] = 80
    """Full length of the training; T = epochs * steps per epoch, also when a study stops the run early."""
    steps_per_epoch: Annotated[int, Field(ge=1)] | None = None
    """Steps of one epoch; none: one pass over the list that `epoch_base` names."""
    epoch_base: Annotated[Literal["unlabelled", "labelled"], OnlyIf({"steps_per_epoch": None})] = "unlabelled"
    """The list whose length makes an epoch. Never compare runs across the two."""
    poly_power: Annotated[float, Field(ge=0)] = 0.9
    """0: the learning rate stays as it is."""


class EvaluationConfig(Section):
    """Evaluation (methods: section 20). Scored at the original size, without test-time augmentation."""

    every: Annotated[int, Field(ge=1)] = 1
    """Evaluate every so many epochs, and always after the last."""
    recent: Annotated[int, Field(ge=1)] = 3
    """Evaluations whose mean is `val/recent/miou`: the latest ones, at the start of a run those there are. As a study's
    objective it may differ less between seeds than the last evaluation alone does; it is lower while scores rise."""
    mode: Literal["whole", "sliding"] = "whole"
    """Whole image, or windows of the crop's size at 2/3 stride whose softmax is summed."""
    scale: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Images are predicted at this share of their size and the classes brought back to all of it: 0.5 for networks that
    learn on images of half their size, as some do on Cityscapes."""
    absent: Literal["skip", "zero"] = "skip"
    """A class in neither prediction nor target is left out of the mean, or counts 0."""
    final: bool = False
    """Also evaluate the images of `data.val`, once, with the last and with the best weights. Leave it false in every
    run that takes part in a search."""


class PrecisionConfig(Section):
    """Numbers and devices."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a GPU where there is one; of a study's trial, where `resources.gpus_per_worker` grants it one."""
    amp: Literal["off", "bf16"] = "off"
    """Autocast of forward passes; upsampling and losses stay in float32."""
    channels_last: bool = True
    """Layout of weights and features. False is slower wherever it was measured (docs/performance.md)."""
    compile: Literal["off", "default", "cuda_graphs"] = "off"
    """Compile the networks that train. What was compiled is kept in `$XDG_CACHE_HOME` or `~/.cache`, below
    `ipix-tune/compiled`, so that the next trial waits less. `cuda_graphs`: replay whole passes as CUDA graphs."""
    deterministic: bool = True
    """Ask PyTorch for deterministic kernels. On CPU runs repeat bit for bit either way."""
    cpu_threads: Annotated[int, Field(ge=1)] = 1
    """Threads of PyTorch's operators in each process. Their number moves the last bits of a sum, so it is a part of
    the config and not of the machine: a run gives the same curve wherever it runs."""


class CheckpointConfig(Section):
    """What is kept on disk."""

    every: Annotated[int, Field(ge=1)] = 1
    """Save after every so many epochs, and always after the last."""
    keep_best: bool = True
    """Also keep the weights of the best epoch so far."""
    wait_s: Annotated[float, Field(ge=0)] = 60.0
    """How long a save that fails is tried again, in seconds: a full disk may be freed, a file server come back."""


class SeedsConfig(Section):
    """Seeds of single sources of chance, each in the place of `seed` for its own; none: `seed`. What a labelled list is
    drawn by is `data.draw.seed`, and which images are held out `data.holdout.seed`; neither depends on `seed`."""

    init: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    """Initial weights of all networks."""
    order: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    """Order of the images, their views, and what a method draws in its steps."""


class TrainConfig(Section):
    """One training run, whole. Equal config, seed and number of processes give an equal curve."""

    data: DataConfig
    method: MethodConfig
    model: ModelConfig = ModelConfig()
    views: ViewsConfig = ViewsConfig()
    interpixel: InterPixelConfig = InterPixelConfig()
    optim: OptimConfig = OptimConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    precision: PrecisionConfig = PrecisionConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Fixes initialisation, order, views and dropout, each through its own stream."""
    seeds: SeedsConfig = SeedsConfig()
    provenance: dict[str, Any] | None = None
    """Where this file came from; written by the export, not read by the trainer."""

    @property
    def init_seed(self) -> int:
        """The seed of the initial weights."""
        return self.seed if self.seeds.init is None else self.seeds.init

    @property
    def order_seed(self) -> int:
        """The seed of order, views and the steps' own draws."""
        return self.seed if self.seeds.order is None else self.seeds.order
