"""The whole training config, typed. `trainers.common.yaml_file` reads it from YAML and writes it back.

Symbols of the papers and their names here: tau `interpixel.tau`, t `interpixel.temperature`,
alpha `interpixel.alpha`, CutMix box `views.cutmix_*`, confidence threshold `method.conf_thresh`.
Sizes of batches are totals over all processes.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from trainers.common.depends_on import OnlyIf
from trainers.common.section import Section
from trainers.data import DataConfig
from trainers.data.views_config import ViewsConfig
from trainers.losses.interpixel_config import InterPixelConfig
from trainers.losses.labelled_config import LossConfig
from trainers.methods.registry import MethodConfig
from trainers.models.model_config import ModelConfig


class OptimConfig(Section):
    """Optimiser."""

    name: Literal["sgd", "adamw"] = "sgd"
    """Stochastic gradient descent with momentum, or AdamW."""
    lr: Annotated[float, Field(gt=0)] = 0.001
    """Learning rate of the backbone at step 0."""
    head_lr_multiplier: Annotated[float, Field(gt=0)] = 10.0
    """Learning rate of everything else, as a multiple of `lr`."""
    layer_decay: Annotated[float, Field(gt=0, le=1), OnlyIf({"model.name": ("smp", "dinov2_dpt")})] = 1.0
    """Learning rate of a backbone's layer as a share of that of the layer above it, of vision transformers: 0.65 to 0.9
    are usual; 1: all alike."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """SGD's momentum; AdamW's beta_1."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    """Of SGD a part of the gradient (L2), of AdamW decoupled from it."""
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest L2 norm of the gradient; none: no clipping."""
    accumulate: Annotated[int, Field(ge=1)] = 1
    """Parts of a process's batch that are computed one after the other, to save memory; the step is taken on the mean
    of their gradients. Batch norm, the losses' divisors and an in-batch CutMix partner see one part at a time, so that
    the curve is not that of 1."""
    denominator: Literal["global", "device"] = "global"
    """Divisor of a loss that is a sum over pixels: counted over all processes (the result does not depend on how
    many there are), or per process as in UniMatch's code. The same with one process."""
    batch_norm: Literal["global", "device"] = "global"
    """Images whose features batch norm normalises together: those of all processes (the result does not depend on how
    many there are), or each process's own. `device` saves the exchanges of every layer and pass, which few images a GPU
    mostly wait for; the curve then depends on the number of processes, and running statistics are averaged over them
    after every epoch. The heads that U2PL, Alonso and PseudoSeg have beside the network stay with all processes. The
    same with one process."""


class ScheduleConfig(Section):
    """How long, and how the learning rate falls, in each stage of a method anew."""

    epochs: Annotated[int, Field(ge=1, lt=2**31)] = 80
    """Full length of the training; T = epochs * steps per epoch, also when a study stops the run early."""
    steps_per_epoch: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    """Steps of one epoch; none: one pass over the list that `epoch_base` names."""
    epoch_base: Annotated[Literal["unlabelled", "labelled"], OnlyIf({"steps_per_epoch": None})] = "unlabelled"
    """The list whose length makes an epoch. Never compare runs across the two."""
    lr: Literal["poly", "cosine", "constant"] = "poly"
    """How the learning rate goes from `optim.lr` on, after the warm-up: `poly`: lr * (1 - it / T) ** poly_power;
    `cosine`: along half a cosine to 0; `constant`."""
    poly_power: Annotated[float, Field(ge=0), OnlyIf({"lr": "poly"})] = 0.9
    """0: the learning rate stays as it is."""
    lr_warmup_steps: Annotated[int, Field(ge=0), OnlyIf({"lr_warmup_epochs": None})] = 0
    """Steps over which the learning rate first rises in a straight line, from 1 / lr_warmup_steps of `optim.lr`."""
    lr_warmup_epochs: Annotated[float, Field(ge=0)] | None = None
    """The same length in epochs; when given, it takes the place of `lr_warmup_steps`."""


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
    """A class in neither prediction nor target is left out of the means, or counts 0."""
    boundary_width: Annotated[float, Field(gt=0, le=0.5)] | None = None
    """Also score `val/boundary_iou`, the IoU of bands of this width along the classes' boundaries, as a share of the
    image's diagonal (usual: 0.02); none: not scored. It costs a few passes over each image's classes."""
    pictures: Annotated[int, Field(ge=0, le=64)] = 4
    """Held-out images whose predictions are kept some four times in a training, as small pictures, and with them the
    counts of every held-out image; after the last epoch up to 200 images. 0: none. No curve depends on it."""
    final: bool = False
    """Also evaluate the images of `data.val`, once, with the last and with the best weights. Leave it false in every
    run that takes part in a search."""


class PrecisionConfig(Section):
    """Numbers and devices."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a GPU where there is one; of a study's trial, where `resources.gpus_per_worker` grants it one."""
    amp: Literal["off", "bf16", "fp16"] = "off"
    """Autocast of forward passes; upsampling and losses stay in float32. `fp16`, with loss scaling, is for GPUs without
    bfloat16 (before NVIDIA's Ampere), which emulate it slowly."""
    channels_last: bool = True
    """Layout of weights and features. False is slower wherever it was measured (docs/explanation/performance.md)."""
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


class MetricFilesConfig(Section):
    """Where metrics go besides `metrics.jsonl`."""

    tensorboard: bool = False
    """Also write every metric of every epoch as TensorBoard's event files, in `tensorboard/` in the run's folder: look
    at them by `tensorboard --logdir runs`, or `studies/NAME/trials`. Needs the extra `tensorboard`."""


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
    loss: LossConfig = LossConfig()
    interpixel: InterPixelConfig = InterPixelConfig()
    optim: OptimConfig = OptimConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    precision: PrecisionConfig = PrecisionConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    logging: MetricFilesConfig = MetricFilesConfig()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Fixes initialisation, order, views and dropout, each through its own stream."""
    seeds: SeedsConfig = SeedsConfig()
    provenance: dict[str, Any] | None = None
    """Where this file came from; written by the export, not read by the trainer."""

    @model_validator(mode="after")
    def _network_takes_the_images(self) -> Self:
        read, seen = self.data.image_bands(), self.model.in_channels
        if read != seen and (read, seen) != (3, 1):
            here = f"data.bands = {read}" if read != 3 else "images are read as RGB (data.bands = 3)"
            to_data = f"where the images have {seen} bands, set data.bands: {seen} (data.name: folder)"
            to_model = f"set model.in_channels: {read}"
            to_model += (
                " and give model.mean and model.std a value a band" if read != 3 else " and leave out mean and std"
            )
            raise ValueError(
                f"model.in_channels = {seen}: {here}; {to_model}" + (f", or, {to_data}" if seen > 1 else "")
            )
        return self

    @property
    def init_seed(self) -> int:
        """The seed of the initial weights."""
        return self.seed if self.seeds.init is None else self.seeds.init

    @property
    def order_seed(self) -> int:
        """The seed of order, views and the steps' own draws."""
        return self.seed if self.seeds.order is None else self.seeds.order
