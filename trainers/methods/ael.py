"""AEL: classes on which the student is weak are shown, sampled and weighed more (methods: section 11)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from trainers.common.depends_on import Above, OnlyIf
from trainers.common.errors import ConfigError
from trainers.common.section import Probability, Section
from trainers.common.transfer import HostRead, to_device
from trainers.interface.batch import Labelled, SemiBatch
from trainers.interface.labels import IGNORE
from trainers.interface.method import MethodContext, Needs
from trainers.interface.step import Step, StepOutput
from trainers.losses.functional import class_sizes, pixel_nll, probabilities
from trainers.methods.ema import Buffers, EmaTeacher
from trainers.methods.mixing import half_box, image_generators
from trainers.methods.pasting import by_need
from trainers.methods.pseudo import Target
from trainers.methods.regions import boxes_of
from trainers.methods.supervised import Ohem, supervised_loss
from trainers.methods.teacher import EmaMethod
from trainers.methods.unused import CUTMIX, FEATURE_STREAM, NEVER, STRONG_VIEWS, TARGET

Share = Annotated[float, Field(ge=0, lt=1)]
PARTNER, SAMPLING_LABELLED, SAMPLING_UNLABELLED, COPY_PASTE = range(200, 204)
BANK_USED = OnlyIf(
    {"copy_paste_p": Above(0)}, {"adaptive_cutmix": True}, {"adaptive_sampling": True, "consistency_weight": Above(0)}
)


class AelConfig(Section):
    """AEL. The box of its CutMix follows the prediction: `views.cutmix_*` have no part in it."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {
        STRONG_VIEWS: NEVER,
        CUTMIX: NEVER,
        TARGET: OnlyIf({"method.adaptive_cutmix": True}),
        FEATURE_STREAM: NEVER,
    }

    name: Literal["ael"]
    consistency_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the unlabelled images' loss beside the labelled one."""
    consistency_mean: Annotated[Literal["separate", "joint"], OnlyIf({"consistency_weight": Above(0)})] = "separate"
    """Labelled and unlabelled pixels have a weighted mean each, and these are added, as in the code; or one over both
    together."""
    conf_thresh: Annotated[Share, OnlyIf({"consistency_weight": Above(0)})] = 0.7
    """Confidence threshold of the teacher: 0.7 on VOC, 0 on Cityscapes. Pixels below it have no loss and stay in the
    divisor."""
    gamma: Annotated[float, Field(ge=0), OnlyIf({"consistency_weight": Above(0)})] = 2.0
    """A pixel counts by the teacher's confidence^gamma."""
    bank_momentum: Annotated[Share, BANK_USED] = 0.999
    """Momentum of the classes' confidences."""
    bank_start: Annotated[Literal["uniform", "random"], BANK_USED] = "uniform"
    """The classes' first confidences: 1 / C, or drawn, as in the code."""
    bank_absent: Annotated[Literal["keep", "decay"], BANK_USED] = "keep"
    """Classes that a batch does not show keep their confidence, or lose some, as in the code."""
    adaptive_cutmix: bool = True
    """Paste regions of weak classes from other unlabelled images; false: unlabelled images are seen as they are."""
    region_area: Annotated[float, Field(gt=0, lt=1), OnlyIf({"adaptive_cutmix": True})] = 0.03
    """Share of the crop that a connected region must have to be pasted: 0.03 on VOC, 0.005 on Cityscapes. Where there
    is none, a random box of half of the crop's area is pasted."""
    bank_area: Annotated[float, Field(gt=0, lt=1), OnlyIf({"adaptive_cutmix": True})] = 0.03
    """Share of the crop that a class must have for the image to be remembered as showing it: 0.03 on VOC, 0.01 on
    Cityscapes."""
    copy_paste_p: Probability = 0.5
    """Probability that objects are pasted onto a labelled image."""
    copy_paste_classes: Annotated[int, Field(ge=1), OnlyIf({"copy_paste_p": Above(0)})] = 1
    """Classes drawn for one, with replacement: 1 on VOC, 3 on Cityscapes."""
    copy_paste_never: Annotated[tuple[Annotated[int, Field(ge=0)], ...], OnlyIf({"copy_paste_p": Above(0)})] = (0,)
    """Classes that are not pasted: the background on VOC; [0, 1, 2, 8, 10] on Cityscapes (the code has these five on
    both)."""
    copy_paste_scale_min: Annotated[float, Field(gt=0), OnlyIf({"copy_paste_p": Above(0)})] = 0.1
    """Smallest factor by which the image is resized that an object is taken from; it takes the place of
    `views.scale_min` there."""
    copy_paste_scale_max: Annotated[float, Field(gt=0), OnlyIf({"copy_paste_p": Above(0)})] = 2.0
    """Largest factor by which that image is resized; it takes the place of `views.scale_max` there."""
    adaptive_sampling: Annotated[bool, OnlyIf({"consistency_weight": Above(0)})] = True
    """Pixels train by chance, the more often the weaker their class."""
    sampling_class: Annotated[Literal["student", "teacher"], OnlyIf({"adaptive_sampling": True})] = "student"
    """Whose prediction is the class by which a pixel is drawn: the student's, as in the code, or the teacher's."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Largest decay of the teacher's average."""
    ema_buffers: Buffers = "own"
    """Batch-norm statistics of the teacher: its own, averaged like the weights, or copied."""
    ohem: Ohem = None
    """Mine hard pixels in the supervised loss (Cityscapes); none: plain cross-entropy."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.copy_paste_scale_min, self.copy_paste_scale_max
        if low > high:
            raise ValueError(f"copy_paste_scale_min = {low} is above copy_paste_scale_max = {high}")
        return self


class Ael(EmaMethod):
    """L = L_x + w (L_cons(labelled) + L_cons(mixed unlabelled)), L_cons = sum v CE(student, teacher's class) / sum v,
    with v = confidence^gamma where the pixel was drawn, else 0; padding and void 0. Where the confidence is below the
    threshold the CE is 0 and v stays.

    The confidence bank has for each class the moving mean of the student's probability of it on pixels labelled so,
    this batch's included. A pixel that the student predicts as c is drawn with probability
    (1 - conf_c) / max_c (1 - conf_c). An unlabelled image gets the bounding box of a region of class c, drawn by
    softmax(1 - conf), from an image on which the teacher last saw c: of any, where it saw c on none yet; and a box of
    half of the area where the crop does not show it. Labelled images get all pixels of a class, drawn by
    softmax(sqrt(1 - conf)) among those that may be pasted, from a crop of another labelled image that shows it.

    Means and banks are over the images of all processes. The inter-pixel loss takes the mixed unlabelled images. The
    teacher is evaluated. The host waits twice a step: for the confidences as the last step left them, by which images
    are read, and for where the teacher sees which class in them.
    """

    needs = Needs(unlabelled=True)
    eval_network = "teacher"

    def __init__(self, config: AelConfig, context: MethodContext) -> None:
        super().__init__(
            context.student, EmaTeacher(context.student, decay=config.ema_decay, buffers=config.ema_buffers)
        )
        self.config, self.context = config, context
        if config.bank_start == "random":
            drawn = np.random.default_rng(context.seed).random(context.num_classes)
            self.confidence = torch.from_numpy(drawn)
        else:
            self.confidence = torch.full((context.num_classes,), 1 / context.num_classes, dtype=torch.float64)
        self._sent: tuple[Tensor, HostRead] | None = None
        self.shown = torch.zeros(context.num_classes, context.unlabelled, dtype=torch.bool)
        if config.copy_paste_p > 0 and set(range(context.num_classes)) <= set(config.copy_paste_never):
            raise ConfigError(
                f"method.copy_paste_never: {list(config.copy_paste_never)} are all {context.num_classes} classes; "
                "leave one out, or set method.copy_paste_p: 0"
            )

    def losses(self, step: Step) -> StepOutput:
        config, unlabelled = self.config, step.batch.unlabelled
        assert unlabelled is not None
        labelled = self._enriched(step)
        target, images, box = self._mixed(step)
        answer = Target(logits=self.teacher(labelled.image), ignore=torch.where(labelled.mask == IGNORE, IGNORE, 0))
        step.student.train()
        clean, mixed = step.student(labelled.image), step.student(images)
        self._learn(clean, labelled.mask)
        sums = [
            self._weighted(logits, taught, step.batch, stream)
            for logits, taught, stream in (
                (clean, answer, SAMPLING_LABELLED),
                (mixed, target, SAMPLING_UNLABELLED),
            )
        ]
        both = sums[0][1] + sums[1][1]
        below = [both, both] if config.consistency_mean == "joint" else [weight for _, weight, _ in sums]
        consistency = [above / step.denominator(one) for (above, _, _), one in zip(sums, below, strict=True)]
        return StepOutput(
            terms={
                "supervised": supervised_loss(clean, labelled, step, config.ohem),
                "consistency_labelled": consistency[0],
                "consistency": consistency[1],
            },
            weights={
                "supervised": 1.0,
                "consistency_labelled": config.consistency_weight,
                "consistency": config.consistency_weight,
            },
            pairs=(target.pair("weak", mixed, box),) if self.context.pairs else (),
            metrics={
                "mask_ratio": sums[1][2],
                "pasted": box.double().mean(),
                "weakest_class": self.confidence.min(),
            },
        )

    def _enriched(self, step: Step) -> Labelled:
        """The labelled images with objects of weak classes."""
        config, labelled = self.config, step.batch.labelled
        assert step.asked is not None
        images, masks = labelled.image.clone(), labelled.mask.clone()
        if config.copy_paste_p == 0:
            return labelled
        shown = step.asked.classes()
        need = by_need(self._known_confidence(), power=0.5, never=config.copy_paste_never)
        for place, rng in enumerate(image_generators(step.batch, COPY_PASTE)):
            if rng.random() >= config.copy_paste_p:
                continue
            for label in sorted(
                {*rng.choice(self.context.num_classes, size=config.copy_paste_classes, p=need).tolist()}
            ):
                having = [index for index, classes in enumerate(shown) if label in classes]
                if not having:
                    continue
                image, mask = step.asked.labelled(
                    having[int(rng.integers(len(having)))],
                    int(rng.integers(2**31)),
                    scale=(config.copy_paste_scale_min, config.copy_paste_scale_max),
                )
                images[place] = torch.where(mask == label, image, images[place])
                masks[place] = torch.where(mask == label, label, masks[place])
        return Labelled(image=images, mask=masks)

    def _mixed(self, step: Step) -> tuple[Target, Tensor, Tensor]:
        """The teacher's answers for the mixed unlabelled images, these, and where they are the partner's."""
        batch, unlabelled = step.batch, step.batch.unlabelled
        assert unlabelled is not None
        view = unlabelled.view
        if not self.config.adaptive_cutmix:
            own = Target(logits=self.teacher(view.weak), ignore=view.ignore)
            return own, view.weak, torch.zeros_like(view.ignore, dtype=torch.bool)
        rngs = image_generators(batch, PARTNER)
        need = by_need(self._known_confidence())
        labels = [int(rng.choice(self.context.num_classes, p=need)) for rng in rngs]
        places = [self._place(label, rng) for label, rng in zip(labels, rngs, strict=True)]
        assert step.asked is not None
        crops = [
            step.asked.unlabelled(place, int(rng.integers(2**31))) for place, rng in zip(places, rngs, strict=True)
        ]
        images, ignore = (torch.stack(column) for column in zip(*crops, strict=True))
        logits, theirs = self.teacher(torch.cat([view.weak, images])).chunk(2)
        own, other = Target(logits=logits, ignore=view.ignore), Target(logits=theirs, ignore=ignore)
        assert unlabelled.index is not None
        device = view.weak.device
        seen, *tables = HostRead(
            torch.where(ignore == IGNORE, IGNORE, theirs.argmax(dim=1)).to(torch.uint8),
            self._seen_on(unlabelled.index, own, batch.world),
            self._seen_on(to_device(torch.tensor(places), device), other, batch.world),
        )()
        for index, *shown in torch.cat(tables).tolist():
            self.shown[:, index] = torch.tensor(shown, dtype=torch.bool)
        least = self.config.region_area
        boxes = [
            region(one == label, rng, least=least) for one, label, rng in zip(seen.numpy(), labels, rngs, strict=True)
        ]
        box = to_device(torch.stack(boxes), device)
        return own.mixed(box, other), torch.where(box[:, None], images, view.weak), box

    def _known_confidence(self) -> Tensor:
        """The confidences on the host, whereto the step that found them has sent them."""
        if self._sent is None or self._sent[0] is not self.confidence:
            self._sent = self.confidence, HostRead(self.confidence)
        return self._sent[1]()[0]

    def _place(self, label: int, rng: np.random.Generator) -> int:
        """Where in the list an unlabelled image is that shows the class."""
        having = self.shown[label].nonzero().flatten()
        places = having if len(having) else torch.arange(self.shown.shape[1])
        return int(places[int(rng.integers(len(places)))])

    def _seen_on(self, places: Tensor, answer: Target, world: int) -> Tensor:
        """For the images of all processes (B, 1 + C) int64: their place in the list, of this process's images
        ``places`` (B,), and for each class whether the teacher sees it there."""
        label = torch.where(answer.ignore == IGNORE, IGNORE, answer.logits.argmax(dim=1))
        seen = class_sizes(label, self.context.num_classes) >= self.config.bank_area * label[0].numel()
        table = torch.cat([places[:, None], seen.long()], dim=1)
        return self.context.gather(table, [len(table)] * world)

    def _weighted(self, logits: Tensor, taught: Target, batch: SemiBatch, stream: int) -> tuple[Tensor, Tensor, Tensor]:
        """Sum of v CE over the pixels, sum of v, and the share of pixels that have both.

        Args:
            logits: the student's (B, C, H, W).
        """
        label, confidence = taught.pseudo_labels()
        drawn = taught.ignore != IGNORE
        sure = drawn & (confidence >= self.config.conf_thresh)
        if self.config.adaptive_sampling:
            seen = label if self.config.sampling_class == "teacher" else logits.detach().argmax(dim=1)
            drawn = drawn & self._drawn(seen, batch, stream)
        nll = pixel_nll(logits, torch.where(sure, label, IGNORE))
        v = confidence.to(nll.dtype) ** self.config.gamma * drawn
        return (v * nll).sum(), v.sum(), (sure & drawn).double().mean()

    def _drawn(self, seen: Tensor, batch: SemiBatch, stream: int) -> Tensor:
        """Which pixels (B, H, W) bool train, by their classes ``seen``."""
        need = 1 - self.confidence
        rate = need / need.max().clamp(min=torch.finfo(need.dtype).tiny)
        chance = np.stack([rng.random(seen.shape[1:]) for rng in image_generators(batch, stream)])
        return to_device(torch.from_numpy(chance), seen.device) < rate[seen]

    @torch.no_grad()
    def _learn(self, logits: Tensor, mask: Tensor) -> None:
        """The confidence bank, after this batch."""
        p, classes = probabilities(logits).double(), self.context.num_classes
        labelled = mask != IGNORE
        label = torch.where(labelled, mask, 0)
        right = p.gather(1, label[:, None])[:, 0]
        here = [(label == one) & labelled for one in range(classes)]
        summed = torch.stack([torch.stack([torch.where(one, right, 0.0).sum(), one.sum().double()]) for one in here])
        total, count = self.context.total(summed).unbind(dim=1)
        before = to_device(self.confidence, count.device)
        moved = before.lerp(total / count.clamp(min=1), 1 - self.config.bank_momentum)
        kept = torch.full_like(count, self.config.bank_absent == "keep", dtype=torch.bool) & (count == 0)
        self.confidence = torch.where(kept, before, moved)
        self._sent = self.confidence, HostRead(self.confidence)

    def state_dict(self) -> dict[str, Tensor]:
        return {**super().state_dict(), "confidence": self.confidence, "shown": self.shown}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        super().load_state_dict(state)
        self.confidence, self.shown = state["confidence"].clone(), state["shown"].clone()


def region(shown: np.ndarray, rng: np.random.Generator, *, least: float) -> Tensor:
    """The bounding box of one connected region of ``shown`` (H, W) bool, corners touching, that has a share of at
    least ``least`` of the pixels; a random box of half of the area where there is none. (H, W) bool."""
    boxes = boxes_of(shown, least=least * shown.size)
    size = (shown.shape[0], shown.shape[1])
    if not boxes:
        return half_box(rng, size)
    box = torch.zeros(size, dtype=torch.bool)
    box[boxes[int(rng.integers(len(boxes)))]] = True
    return box
