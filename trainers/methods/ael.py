"""AEL: classes on which the student is weak are shown, sampled and weighed more (methods: section 11)."""

from typing import Annotated, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from trainers.batch import Labelled, SemiBatch
from trainers.losses.functional import IGNORE, pixel_nll, probabilities
from trainers.methods.base import Kit, Needs, Step, StepOutput
from trainers.methods.ema import Buffers, EmaTeacher
from trainers.methods.mixing import image_generators
from trainers.methods.pasting import by_need, moved_object
from trainers.methods.pseudo import Target
from trainers.methods.regions import boxes_of
from trainers.methods.supervised import OhemConfig, supervised_loss
from trainers.methods.teacher import EmaMethod
from trainers.schema import Section

Share = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
PARTNER, SAMPLING_LABELLED, SAMPLING_UNLABELLED, COPY_PASTE = range(200, 204)


class AelConfig(Section):
    """AEL. The box of its CutMix follows the prediction: `views.cutmix_*` have no part in it."""

    name: Literal["ael"]
    consistency_weight: Annotated[float, Field(ge=0)] = 1.0
    conf_thresh: Share = 0.7
    """Confidence threshold of the teacher: 0.7 on VOC, 0 on Cityscapes."""
    gamma: Annotated[float, Field(ge=0)] = 2.0
    """A pixel counts by the teacher's confidence^gamma."""
    bank_momentum: Share = 0.999
    """Momentum of the classes' confidences."""
    bank_start: Literal["uniform", "random"] = "uniform"
    """The classes' first confidences: 1 / C, or drawn, as in the code."""
    bank_absent: Literal["keep", "decay"] = "keep"
    """Classes that a batch does not show keep their confidence, or lose some, as in the code."""
    adaptive_cutmix: bool = True
    """Paste regions of weak classes from other unlabelled images; false: unlabelled images are seen as they are."""
    region_area: Annotated[float, Field(gt=0, lt=1)] = 0.03
    """Share of the crop that a region must have to be pasted: 0.03 on VOC, 0.005 on Cityscapes."""
    bank_area: Annotated[float, Field(gt=0, lt=1)] = 0.03
    """Share of the crop that a class must have there for the image to be remembered as showing it: 0.03 on VOC, 0.01 on
    Cityscapes."""
    copy_paste_p: Probability = 0.5
    """Probability that objects are pasted onto a labelled image."""
    copy_paste_classes: Annotated[int, Field(ge=1)] = 1
    """Classes pasted onto one: 1 on VOC, 3 on Cityscapes."""
    copy_paste_scale_min: Annotated[float, Field(gt=0)] = 0.1
    """An object's size is multiplied by a factor drawn from here ..."""
    copy_paste_scale_max: Annotated[float, Field(gt=0)] = 2.0
    """... to here."""
    adaptive_sampling: bool = True
    """Pixels train by chance, the more often the weaker their class."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Largest decay of the teacher's average."""
    ema_buffers: Buffers = "own"
    """Batch-norm statistics of the teacher: its own, averaged like the weights, or copied."""
    ohem: OhemConfig | None = None
    """Mine hard pixels in the supervised loss (Cityscapes); none: plain cross-entropy."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.copy_paste_scale_min, self.copy_paste_scale_max
        if low > high:
            raise ValueError(f"copy_paste_scale_min = {low} is above copy_paste_scale_max = {high}")
        return self


class Ael(EmaMethod):
    """L = L_x + w sum v CE(student, teacher's class) / sum v, over labelled and mixed unlabelled images, with
    v = confidence^gamma where the confidence reaches the threshold and the pixel was drawn, else 0; padding and void 0.

    The confidence bank has for each class the moving mean of the student's probability of it on pixels labelled so. A
    pixel predicted as c is drawn with probability (1 - conf_c) / max_c (1 - conf_c). An unlabelled image gets the
    bounding box of a region of class c, drawn by softmax(1 - conf), from an image on which the teacher last saw c: of
    any, where it saw c on none yet, and nothing where the crop does not show it. Labelled images get objects of such
    classes from other labelled images.

    Means and banks are over the images of all processes. The inter-pixel loss takes the mixed unlabelled images. The
    teacher is evaluated.
    """

    needs = Needs(unlabelled=True)
    eval_network = "teacher"

    def __init__(self, config: AelConfig, kit: Kit) -> None:
        super().__init__(kit.student, EmaTeacher(kit.student, decay=config.ema_decay, buffers=config.ema_buffers))
        self.config, self.kit = config, kit
        if config.bank_start == "random":
            drawn = np.random.default_rng(kit.seed).random(kit.num_classes)
            self.confidence = torch.from_numpy(drawn)
        else:
            self.confidence = torch.full((kit.num_classes,), 1 / kit.num_classes, dtype=torch.float64)
        self.shown = torch.zeros(kit.num_classes, kit.unlabelled, dtype=torch.bool)

    def losses(self, step: Step) -> StepOutput:
        config, unlabelled = self.config, step.batch.unlabelled
        assert unlabelled is not None
        view = unlabelled.view
        labelled = self._enriched(step)
        target, images, box = self._mixed(step)
        answer = Target(logits=self.teacher(labelled.image), ignore=torch.where(labelled.mask == IGNORE, IGNORE, 0))
        step.student.train()
        clean, mixed = step.student(labelled.image), step.student(images)
        nll, weight = [], []
        for logits, taught, stream in (
            (clean, answer, SAMPLING_LABELLED),
            (mixed, target, SAMPLING_UNLABELLED),
        ):
            label = torch.where(taught.ignore == IGNORE, IGNORE, taught.logits.argmax(dim=1))
            nll.append(pixel_nll(logits, label))
            weight.append(self._weights(taught, step.batch, stream))
        v = torch.cat(weight).to(nll[0].dtype)
        terms = {
            "supervised": supervised_loss(clean, labelled, step.denominator, config.ohem),
            "consistency": (v * torch.cat(nll)).sum() / step.denominator(v.sum()),
        }
        self._learn(clean, labelled.mask)
        return StepOutput(
            terms=terms,
            weights={"supervised": 1.0, "consistency": config.consistency_weight},
            pairs=(target.pair("weak", mixed, box),) if self.kit.pairs else (),
            metrics={
                "mask_ratio": (weight[1] > 0).double().mean(),
                "pasted": box.double().mean(),
                "weakest_class": self.confidence.min().to(view.weak.device),
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
        for place, rng in enumerate(image_generators(step.batch, COPY_PASTE)):
            if rng.random() >= config.copy_paste_p:
                continue
            count = min(config.copy_paste_classes, self.kit.num_classes)
            for label in rng.choice(self.kit.num_classes, size=count, replace=False, p=by_need(self.confidence)):
                having = [index for index, classes in enumerate(shown) if int(label) in classes]
                if not having:
                    continue
                image, mask = step.asked.labelled(having[int(rng.integers(len(having)))], int(rng.integers(2**31)))
                scale = (config.copy_paste_scale_min, config.copy_paste_scale_max)
                moved, where = moved_object(image, mask == int(label), rng, scale=scale)
                images[place] = torch.where(where, moved, images[place])
                masks[place] = torch.where(where, int(label), masks[place])
        return Labelled(image=images, mask=masks)

    def _mixed(self, step: Step) -> tuple[Target, Tensor, Tensor]:
        """The teacher's answers for the mixed unlabelled images, these, and where they are the partner's."""
        batch, unlabelled = step.batch, step.batch.unlabelled
        assert unlabelled is not None
        view = unlabelled.view
        if not self.config.adaptive_cutmix:
            own = Target(logits=self.teacher(view.weak), ignore=view.ignore)
            self._remember(batch, own)
            return own, view.weak, torch.zeros_like(view.ignore, dtype=torch.bool)
        rngs = image_generators(batch, PARTNER)
        labels = [int(rng.choice(self.kit.num_classes, p=by_need(self.confidence))) for rng in rngs]
        partners = [self._partner(step, label, rng) for label, rng in zip(labels, rngs, strict=True)]
        images, ignore = (torch.stack(column) for column in zip(*partners, strict=True))
        logits, theirs = self.teacher(torch.cat([view.weak, images])).chunk(2)
        own, other = Target(logits=logits, ignore=view.ignore), Target(logits=theirs, ignore=ignore)
        self._remember(batch, own)
        seen = torch.where(ignore == IGNORE, IGNORE, theirs.argmax(dim=1)).cpu().numpy()
        least = self.config.region_area
        boxes = [region(one == label, rng, least=least) for one, label, rng in zip(seen, labels, rngs, strict=True)]
        box = torch.from_numpy(np.stack(boxes)).to(view.weak.device)
        return own.mixed(box, other), torch.where(box[:, None], images, view.weak), box

    def _partner(self, step: Step, label: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A view (3, H, W) of an unlabelled image that shows the class, and its padding."""
        assert step.asked is not None
        having = self.shown[label].nonzero().flatten()
        places = having if len(having) else torch.arange(self.shown.shape[1])
        return step.asked.unlabelled(int(places[int(rng.integers(len(places)))]), int(rng.integers(2**31)))

    def _remember(self, batch: SemiBatch, own: Target) -> None:
        """Which classes the teacher sees on these images."""
        assert batch.unlabelled is not None
        assert batch.unlabelled.index is not None
        label = torch.where(own.ignore == IGNORE, IGNORE, own.logits.argmax(dim=1)).flatten(1)
        sizes = torch.stack([(label == one).sum(dim=1) for one in range(self.kit.num_classes)], dim=1)
        seen = sizes >= self.config.bank_area * label.shape[1]
        indices, rows = self.kit.gather(batch.unlabelled.index).tolist(), self.kit.gather(seen.long()).cpu()
        for index, row in zip(indices, rows, strict=True):
            self.shown[:, index] = row > 0

    @torch.no_grad()
    def _weights(self, taught: Target, batch: SemiBatch, stream: int) -> Tensor:
        """v of every pixel (B, H, W)."""
        confidence, label = probabilities(taught.logits).max(dim=1)
        counted = (taught.ignore != IGNORE) & (confidence >= self.config.conf_thresh)
        if self.config.adaptive_sampling:
            need = 1 - self.confidence
            rate = need / need.max().clamp(min=torch.finfo(need.dtype).tiny)
            drawn = np.stack([rng.random(label.shape[1:]) for rng in image_generators(batch, stream)])
            counted &= torch.from_numpy(drawn).to(label.device) < rate.to(label.device)[label]
        return confidence**self.config.gamma * counted

    @torch.no_grad()
    def _learn(self, logits: Tensor, mask: Tensor) -> None:
        """The confidence bank, after this batch."""
        p, classes = probabilities(logits).double(), self.kit.num_classes
        labelled = mask != IGNORE
        label = torch.where(labelled, mask, 0)
        right = p.gather(1, label[:, None])[:, 0]
        here = [(label == one) & labelled for one in range(classes)]
        summed = torch.stack([torch.stack([right[one].sum(), one.sum().double()]) for one in here])
        total, count = self.kit.total(summed).cpu().unbind(dim=1)
        moved = self.confidence.lerp(total / count.clamp(min=1), 1 - self.config.bank_momentum)
        kept = torch.full_like(count, self.config.bank_absent == "keep", dtype=torch.bool) & (count == 0)
        self.confidence = torch.where(kept, self.confidence, moved)

    def state_dict(self) -> dict[str, Tensor]:
        return {**super().state_dict(), "confidence": self.confidence, "shown": self.shown}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        super().load_state_dict(state)
        self.confidence, self.shown = state["confidence"].clone(), state["shown"].clone()


def region(shown: np.ndarray, rng: np.random.Generator, *, least: float) -> np.ndarray:
    """The bounding box of one connected region of ``shown`` (H, W), corners touching, that has ``least`` of all pixels
    or more; bool, all False where there is none."""
    boxes = boxes_of(shown, least=least * shown.size)
    box = np.zeros(shown.shape, dtype=bool)
    if boxes:
        box[boxes[int(rng.integers(len(boxes)))]] = True
    return box
