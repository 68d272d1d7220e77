"""PS-MT: two teachers that move in turns, and adversarial feature noise from their decoders (methods: section 15)."""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from trainers.common.depends_on import Above, OnlyIf
from trainers.common.errors import ConfigError
from trainers.common.float32 import exact
from trainers.common.section import Section
from trainers.common.transfer import to_device
from trainers.data.views import neighbour
from trainers.interface.batch import SemiBatch
from trainers.interface.labels import IGNORE
from trainers.interface.method import AuxiliaryModule, MethodContext, Needs, Stateless
from trainers.interface.step import Step, StepOutput
from trainers.losses.functional import is_class, pixel_nll
from trainers.losses.ramps import cosine_ramp
from trainers.methods.adversarial import adversarial_noise
from trainers.methods.ema import Buffers, EmaTeacher
from trainers.methods.mixing import centred_box, image_generators, noise
from trainers.methods.pseudo import Target, mixed_target
from trainers.methods.supervised import Ohem, supervised_loss
from trainers.methods.unused import CUTMIX, FEATURE_STREAM, NEVER
from trainers.models.interface import SegmentationModel

Share = Annotated[float, Field(ge=0, lt=1)]
BOXES, NOISE = 0, 1


class PsMtConfig(Section):
    """PS-MT."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {CUTMIX: NEVER, FEATURE_STREAM: NEVER}

    name: Literal["psmt"]
    psmt_weight: Annotated[float, Field(ge=0)] = 1.5
    """w; the paper has 1.5, 0.6 and 0.06 on VOC, from many labels to few, and 3 on Cityscapes."""
    conf_thresh: Annotated[Share, OnlyIf({"psmt_weight": Above(0)})] = 0.6
    """Confidence threshold of the averaged teachers."""
    warmup_passes: Annotated[float, Field(ge=0)] = 5.0
    """Passes over the labelled list at the beginning, in steps rounded up: all three networks learn from labels alone,
    the teachers with optimisers of their own. Part of `schedule.epochs`, where the code does it before its epochs."""
    ramp: Annotated[Share, OnlyIf({"psmt_weight": Above(0)})] = 0.15
    """Share of the whole training until w has its full size along a cosine, after the warm-up: 12 of the paper's 80
    epochs."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.996
    """Decay of the moving teacher's average."""
    ema_buffers: Buffers = "ema"
    """Running batch-norm statistics of the teachers, by which they are evaluated: averaged like the weights, copied, or
    only those of the batches that they label."""
    vat_eps: Annotated[float, Field(ge=0)] = 2.0
    """L2 norm of the adversarial noise on an image's decoder features; 0: none."""
    vat_xi: Annotated[Annotated[float, Field(gt=0)] | None, OnlyIf({"vat_eps": Above(0)})] = None
    """Step of the power iteration that finds the noise. None: the limit of small steps, so that the noise has its norm,
    as the paper means it. The public code's 1.0e-6 leaves next to none of it, so that the published numbers are nearly
    those of `vat_eps: 0`; 0.1 and more find about the same as None."""
    cutmix_beta: Annotated[float, Field(gt=0)] = 4.0
    """The pasted box has sides of sqrt(1 - l) of the crop's, l ~ Beta(b, b)."""
    assistant_top: Annotated[
        Annotated[int, Field(ge=1)] | None, OnlyIf({"psmt_weight": Above(0)}, {"interpixel.alpha": Above(0)})
    ] = 7
    """Of the teacher that rests, this many of the largest logits of a pixel are used, and the moving one's for all
    other classes; none: all."""
    teachers: Literal["pretrained", "random"] = "pretrained"
    """The teachers' first weights: of the student's kind, or all random, as the code has them."""
    ohem: Ohem = None
    """Mine hard pixels in the supervised loss (Cityscapes); none: plain cross-entropy."""


class Ensemble(nn.Module):
    """Mean logits of two networks."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, images: Tensor) -> Tensor:
        mean: Tensor = (self.first(images) + self.second(images)) / 2
        return mean


class PsMt(Stateless):
    """L = CE(student on strong labelled) + w r(it) mean over confident pixels of conf CE(student on mixed strong
    unlabelled, argmax); the mean's divisor is the number of confident pixels.

    The target is the mean of both teachers' logits on the weak view, in train mode (batch statistics), mixed as the
    images are. The student's decoder features, labelled and unlabelled, get :func:`adversarial_noise` against both
    teachers' decoders in eval mode, their predictions compared at the images' size. After a step the teacher whose
    epoch it is moves: the first in even epochs, counted from 0. Both teachers' mean is evaluated, and is the
    inter-pixel loss's teacher; in the warm-up there is none.
    """

    needs = Needs(unlabelled=True, strong=1, boxes=0, labelled_strong=1)
    eval_network = "teachers"

    def __init__(self, config: PsMtConfig, context: MethodContext) -> None:
        self.config = config
        self.student, self.pairs = context.student, context.pairs
        self.warm = math.ceil(config.warmup_passes * context.labelled / context.batch_size)
        self.images = f"{context.labelled} labelled images in steps of {context.batch_size}"
        networks = [context.peer(), context.peer()]
        if config.teachers == "random":
            for number, network in enumerate(networks):
                _randomise(network, context.seed + number)
        self.teachers = [
            EmaTeacher(
                context.student,
                decay=config.ema_decay,
                buffers=config.ema_buffers,
                warm_up=False,
                batch_statistics=True,
                network=network,
            )
            for network in networks
        ]
        self.training_teachers = [context.in_ddp(network) for network in networks]
        self.ensemble = Ensemble(*networks)
        self.active: int | None = None

    def networks(self) -> dict[str, nn.Module]:
        first, second = (teacher.network for teacher in self.teachers)
        return {"student": self.student, "teacher1": first, "teacher2": second, "teachers": self.ensemble}

    def trained(self) -> dict[str, AuxiliaryModule]:
        return {
            f"teacher{number}": AuxiliaryModule(
                module=teacher.network, backbone=cast(SegmentationModel, teacher.network).backbone, in_ddp=True
            )
            for number, teacher in enumerate(self.teachers, 1)
        }

    def losses(self, step: Step) -> StepOutput:
        progress = step.progress
        step.student.train()
        if self.warm >= progress.total_steps:
            raise ConfigError(
                f"method.warmup_passes: {self.config.warmup_passes:g} passes over {self.images} are {self.warm} steps, "
                f"the whole training has {progress.total_steps}; lower it, or train longer"
            )
        if progress.step < self.warm:
            self.active = None
            return self._from_labels(step)
        self.active = progress.step // progress.steps_per_epoch % 2
        ramp = cosine_ramp(progress.step - self.warm, length=self.config.ramp * progress.total_steps)
        return self._from_teachers(step, ramp)

    def _from_labels(self, step: Step) -> StepOutput:
        labelled, terms = step.batch.labelled, {}
        logits = {"supervised": step.student(labelled.strong[0])}
        for number, teacher in enumerate(self.training_teachers, 1):
            logits[f"supervised_teacher{number}"] = teacher.train()(labelled.image)
        for name, one in logits.items():
            terms[name] = supervised_loss(one, labelled, step, self.config.ohem)
        return StepOutput(terms=terms, weights=dict.fromkeys(terms, 1.0), pairs=None)

    def _from_teachers(self, step: Step, ramp: float) -> StepOutput:
        config, labelled, unlabelled = self.config, step.batch.labelled, step.batch.unlabelled
        assert unlabelled is not None
        own = Target(logits=self._target(unlabelled.view.weak), ignore=unlabelled.view.ignore)
        box = self.boxes(step.batch)
        target = mixed_target(own, None, box)
        strong = unlabelled.view.strong[0]
        images = torch.where(box[:, None], neighbour(strong), strong)
        tails = [self._answer_of(teacher.network, strong) for teacher in self.teachers]

        def forward(images: Tensor, stream: int) -> Tensor:
            if config.vat_eps == 0:
                logits: Tensor = step.student(images)
                return logits

            def perturb(features: Tensor) -> Tensor:
                start = noise(step.batch, exact(features), stream)
                found: Tensor = adversarial_noise(features, tails, start, eps=config.vat_eps, xi=config.vat_xi)
                return features + found.to(features.dtype)

            logits = step.student(images, perturb=perturb)
            return logits

        clean, mixed = forward(labelled.strong[0], NOISE), forward(images, NOISE + 1)
        label, confidence = target.pseudo_labels()
        confident = (confidence >= config.conf_thresh) & (target.ignore != IGNORE)
        nll = pixel_nll(mixed, label) * confident
        return StepOutput(
            terms={
                "supervised": supervised_loss(clean, labelled, step, config.ohem),
                "consistency": (confidence * nll).sum() / step.denominator(confident.sum()),
            },
            weights={"supervised": 1.0, "consistency": config.psmt_weight * ramp},
            pairs=(target.pair("s1", mixed, box),) if self.pairs else (),
            metrics={"mask_ratio": own.mask_ratio(config.conf_thresh)},
        )

    @staticmethod
    def _answer_of(network: nn.Module, images: Tensor) -> Callable[[Tensor], Tensor]:
        """A teacher's decoder, in eval mode: decoder features to logits of the images' size."""
        teacher, size = cast(SegmentationModel, network).eval(), (images.shape[-2], images.shape[-1])

        def answer(features: Tensor) -> Tensor:
            logits: Tensor = teacher.upsample(teacher.tail(features).contiguous(), size)
            return logits

        return answer

    @torch.no_grad()
    def _target(self, images: Tensor) -> Tensor:
        """Mean logits of the moving and the resting teacher, both in train mode."""
        assert self.active is not None
        moving, resting = self.teachers[self.active](images), self.teachers[1 - self.active](images)
        top = self.config.assistant_top
        if top is not None and top < resting.shape[1]:
            best = resting.topk(top, dim=1).indices.split(1, dim=1)
            chosen = torch.stack([is_class(one, resting.shape[1]) for one in best]).any(dim=0)
            resting = torch.where(chosen, resting, moving)
        mean: Tensor = (moving + resting) / 2
        return mean

    def boxes(self, batch: SemiBatch) -> Tensor:
        """The pasted regions, (B, H, W) bool."""
        size = (batch.labelled.image.shape[-2], batch.labelled.image.shape[-1])
        beta = self.config.cutmix_beta
        drawn = [
            centred_box(rng, size, share=math.sqrt(1 - rng.beta(beta, beta))) for rng in image_generators(batch, BOXES)
        ]
        return to_device(torch.stack(drawn), batch.labelled.image.device)

    def after_step(self) -> None:
        if self.active is not None:
            self.teachers[self.active].update()


def _randomise(network: nn.Module, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        cast(SegmentationModel, network).randomise()
