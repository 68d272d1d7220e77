"""CAC: equal features of a pixel in two contexts, the surer one leading (methods: section 25.4)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from trainers.common.depends_on import Above, OnlyIf
from trainers.common.float32 import exact
from trainers.common.section import Section
from trainers.common.transfer import to_device
from trainers.data.views import OFFSETS
from trainers.interface.batch import SemiBatch, View
from trainers.interface.labels import IGNORE
from trainers.interface.method import MethodContext, Needs
from trainers.interface.step import Pair, Step, StepOutput
from trainers.losses.functional import labels_of
from trainers.methods.heads import all_rows
from trainers.methods.mixing import WORDS
from trainers.methods.projection import Projected, contrast_nll, pooled, whole_cells
from trainers.methods.supervised import Ohem, supervised_loss
from trainers.methods.unused import CUTMIX, FEATURE_STREAM, NEVER, TARGET
from trainers.models.interface import Features

Count = Annotated[int, Field(ge=1)]
CONTRAST = OnlyIf({"contrast_weight": Above(0)})
KEYS = 401
"""Stream of draws."""


class CacConfig(Section):
    """CAC."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {
        CUTMIX: NEVER,
        TARGET: NEVER,
        FEATURE_STREAM: NEVER,
    }

    name: Literal["cac"]
    contrast_weight: Annotated[float, Field(ge=0)] = 0.1
    """Weight of either direction's loss."""
    supervised_epochs: Annotated[int, Field(ge=0)] = 5
    """Epochs on labelled images alone before the crops of unlabelled ones are compared."""
    overlap_min: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Smallest intersection over union of the two crops of an unlabelled image."""
    conf_thresh: Annotated[float, Field(ge=0, lt=1), CONTRAST] = 0.75
    """Confidence above which a pixel of one crop may lead that of the other."""
    temperature: Annotated[float, Field(gt=0), CONTRAST] = 0.1
    """Divisor of the cosines."""
    samples: Annotated[Count, CONTRAST] = 12800
    """Cells of each of the two crops that are negatives, drawn from all images of a step; all of them where there are
    no more. In the code 6400 on each of 2 devices on VOC, which is all."""
    bank_steps: Annotated[int, Field(ge=0), CONTRAST] = 1
    """Earlier steps whose cells are negatives too: 1 on VOC, 0 on Cityscapes."""
    projection_width: Annotated[Count, CONTRAST] = 128
    """Channels in which pixels are compared."""
    ohem: Ohem = None
    """Mine hard pixels in the supervised loss; none: plain cross-entropy."""


class _Crop(NamedTuple):
    """One crop of each unlabelled image, mirrored back: features of norm 1 (B, W, n, n); classes, confidences and
    whether there is image (B, n, n); the logits (B, C, H, W) and ``ignore``."""

    features: Tensor
    label: Tensor
    confidence: Tensor
    image: Tensor
    logits: Tensor
    ignore: Tensor


class Cac(Projected):
    """L = L_x + w (L_12 + L_21). An unlabelled image is seen in two crops of one scale that overlap, each mirrored or
    not and with colour changes of its own. In cells of 8 x 8 pixels, z being the projected features, c the classes and
    p the confidences of a crop:

    - L_12 = mean over the cells of the overlap with p_2 > threshold and p_1 < p_2 of
      -log[ e^(z_1 sg z_2 / T) / (itself + sum over keys k with c_k != c_1 of e^(z_1 k / T)) ]; L_21 likewise.
    - Keys: cells of both crops, of this step and of `bank_steps` before, without gradient.

    Classes and confidences are those of the decoder's logits, averaged over the cell, which is what a classifier of 1x1
    makes of averaged features. Cells that padding touches are neither compared, as in the code, nor keys, which they
    are there. The mean and the keys are over the images of all processes. Three forward passes of the student, labelled
    images first. The code's dropout before the classifier is left out. The student is evaluated. The inter-pixel loss
    takes both directions, each over the pixels of the overlap on which the other crop is surer.
    """

    def __init__(self, config: CacConfig, context: MethodContext) -> None:
        super().__init__(context, config.projection_width)
        self.config = config
        self.needs = Needs(unlabelled=True, strong=1, boxes=0, overlap=config.overlap_min)
        self.bank: list[tuple[Tensor, Tensor]] = []
        """Features (K, W) and classes (K,) of earlier steps, the newest last."""

    def losses(self, step: Step) -> StepOutput:
        config, labelled, unlabelled = self.config, step.batch.labelled, step.batch.unlabelled
        assert unlabelled is not None
        assert unlabelled.second is not None
        assert unlabelled.offset is not None
        step.student.train()
        clean: Features = step.student(labelled.image, features=True)
        self._cells(clean.fused.detach(), labelled.image.shape[-1])  # a network that is too coarse is refused at once
        weights = {"supervised": 1.0, "contrast": config.contrast_weight, "contrast_back": config.contrast_weight}
        supervised = supervised_loss(clean.logits, labelled, step, config.ohem)
        if step.progress.step < config.supervised_epochs * step.progress.steps_per_epoch:
            nothing = torch.zeros((), device=supervised.device)
            terms = {"supervised": supervised, "contrast": nothing, "contrast_back": nothing}
            return StepOutput(terms=terms, weights=weights, pairs=None)
        offset, flips = unlabelled.offset[:, :2], unlabelled.offset[:, 2:] == 1
        first = self._crop(step, unlabelled.view, flips[:, 0])
        second = self._crop(step, unlabelled.second, flips[:, 1])
        keys, classes = self._keys(step.batch, first, second)
        there, ratio = self._direction(step, first, second, offset, keys, classes)
        back, _ = self._direction(step, second, first, -offset, keys, classes)
        pairs: tuple[Pair, ...] = ()
        if self.context.pairs:
            pairs = (_pair("s1", first, second, offset), _pair("s2", second, first, -offset))
        return StepOutput(
            terms={"supervised": supervised, "contrast": there, "contrast_back": back},
            weights=weights,
            pairs=pairs,
            metrics={"mask_ratio": ratio},
        )

    def _cells(self, maps: Tensor, side: int) -> Tensor:
        return pooled(maps, side=side, cell=OFFSETS, method=self.config.name)

    def _crop(self, step: Step, view: View, flip: Tensor) -> _Crop:
        found: Features = step.student(view.strong[0], features=True)
        side, flipped = view.ignore.shape[-1], flip[:, None, None]

        def cells(maps: Tensor) -> Tensor:
            return self._cells(_unflipped(maps, flipped[:, None]), side)

        label, confidence = labels_of(cells(exact(found.coarse.detach())))
        ignore = _unflipped(view.ignore, flipped)
        return _Crop(
            features=self.head(cells(found.fused)),
            label=label,
            confidence=confidence,
            image=whole_cells(ignore, cell=OFFSETS),
            logits=_unflipped(found.logits, flipped[:, None]),
            ignore=ignore,
        )

    @torch.no_grad()
    def _keys(self, batch: SemiBatch, *crops: _Crop) -> tuple[Tensor, Tensor]:
        """Features and classes of drawn cells of both crops and of the steps before."""
        rows, classes = [], []
        rng = np.random.default_rng([*divmod(batch.seed, WORDS), KEYS])
        for crop in crops:
            here = crop.label.numel()
            drawn = np.sort(rng.permutation(batch.world * here)[: self.config.samples])
            owner = drawn // here
            counts = np.bincount(owner, minlength=batch.world).tolist()
            mine = to_device(torch.from_numpy(drawn[owner == batch.rank] - batch.rank * here), crop.label.device)
            known = torch.where(crop.image, crop.label, IGNORE).flatten()
            rows.append(self.context.gather(all_rows(crop.features.detach())[mine], counts))
            classes.append(self.context.gather(known[mine], counts))
        self.bank.append((torch.cat(rows), torch.cat(classes)))
        found = [torch.cat(column) for column in zip(*self.bank, strict=True)]
        self.bank = self.bank[max(0, len(self.bank) - self.config.bank_steps) :]
        return found[0], found[1]

    def _direction(
        self, step: Step, own: _Crop, other: _Crop, offset: Tensor, keys: Tensor, classes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The loss by which ``own`` learns from ``other``, and the share of the overlap's cells that it is a mean of.

        Args:
            offset: where the other crop lies, in pixels down and to the right of this one (B, 2).
        """
        leading, inside = shifted(other.features.detach(), offset // OFFSETS)
        surer, _ = shifted(other.confidence[:, None], offset // OFFSETS)
        image, _ = shifted(other.image[:, None].float(), offset // OFFSETS)
        shared = inside & own.image & (image[:, 0] > 0)
        kept = shared & (surer[:, 0] > self.config.conf_thresh) & (own.confidence < surer[:, 0])
        nll = contrast_nll(
            all_rows(own.features),
            all_rows(leading),
            own.label.flatten(),
            keys,
            classes,
            temperature=self.config.temperature,
        )
        count = step.denominator(kept.sum())
        return (nll * kept.flatten()).sum() / count, count / step.denominator(shared.sum())

    def state_dict(self) -> dict[str, Tensor]:
        if not self.bank:
            return {}
        rows, classes = zip(*self.bank, strict=True)
        return {"bank.rows": torch.stack(rows), "bank.classes": torch.stack(classes)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.bank = []
        if "bank.rows" in state:
            device = next(self.student.parameters()).device
            columns = [state[f"bank.{name}"].to(device).unbind() for name in ("rows", "classes")]
            self.bank = list(zip(*columns, strict=True))


def _unflipped(maps: Tensor, flip: Tensor) -> Tensor:
    """Maps (B, ..., w), mirrored back where ``flip`` (B, 1, ...) is True."""
    return torch.where(flip, maps.flip(-1), maps)


def shifted(maps: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """Maps (B, K, h, w) as they lie in a frame from which they are ``offset`` (B, 2) down and to the right, and which
    places of that frame they cover (B, h, w) bool."""
    height, width = maps.shape[-2:]
    row = torch.arange(height, device=maps.device) - offset[:, :1]
    column = torch.arange(width, device=maps.device) - offset[:, 1:]
    rows, columns = (row >= 0) & (row < height), (column >= 0) & (column < width)
    place = row.clamp(0, height - 1)[:, :, None] * width + column.clamp(0, width - 1)[:, None, :]
    index = place.flatten(1)[:, None].expand(-1, maps.shape[1], -1)
    found = maps.flatten(2).gather(2, index).view_as(maps)
    return found, rows[:, :, None] & columns[:, None, :]


def _pair(view: str, own: _Crop, other: _Crop, offset: Tensor) -> Pair:
    """The other crop's logits over the pixels of the overlap on which it is surer."""
    teacher, inside = shifted(other.logits.detach(), offset)
    padding, _ = shifted(other.ignore[:, None], offset)
    mine, theirs = labels_of(own.logits.detach())[1], labels_of(teacher)[1]
    taught = inside & (own.ignore != IGNORE) & (padding[:, 0] != IGNORE) & (mine < theirs)
    ignore = torch.where(taught, 0, IGNORE)
    return Pair(view=view, teacher=teacher, student=own.logits, ignore=ignore, box=None, confidence=theirs)
