"""PC2Seg: equal class probabilities and features of a pixel under two augmentations, other pixels' features apart
(methods: section 25.3)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from trainers.common.depends_on import Above, OnlyIf
from trainers.common.errors import ConfigError
from trainers.common.float32 import exact
from trainers.common.section import Section
from trainers.common.transfer import to_device
from trainers.interface.batch import SemiBatch
from trainers.interface.labels import IGNORE
from trainers.interface.method import MethodContext, Needs
from trainers.interface.step import Step, StepOutput
from trainers.losses.functional import probabilities
from trainers.losses.ramps import gaussian_ramp
from trainers.methods.heads import all_rows
from trainers.methods.mixing import image_generators
from trainers.methods.projection import Projected, contrast_nll, pooled, whole_cells
from trainers.methods.pseudo import Target
from trainers.methods.supervised import Ohem, supervised_loss
from trainers.methods.unused import CUTMIX, FEATURE_STREAM, NEVER, TARGET
from trainers.models.interface import Features

Weight = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
CONTRAST = OnlyIf({"contrast_weight": Above(0)})
NEGATIVES = 400
"""Stream of draws."""


class Pc2SegConfig(Section):
    """PC2Seg. There is no public code: defaults are ours."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {CUTMIX: NEVER, TARGET: NEVER, FEATURE_STREAM: NEVER}

    name: Literal["pc2seg"]
    consistency_weight: Weight = 10.0
    """w_c, of the squared difference between class probabilities, summed over classes."""
    ramp: Annotated[float, Field(ge=0, le=1), OnlyIf({"consistency_weight": Above(0)})] = 0.1
    """Share of the training until w_c has its full size, along the Gaussian ramp."""
    contrast_weight: Weight = 0.1
    """w_p, of the contrast between pixels."""
    temperature: Annotated[float, Field(gt=0), CONTRAST] = 0.1
    """Divisor of the cosines."""
    negatives: Annotated[Count, CONTRAST] = 200
    """Pixels drawn as negatives for the anchors of each image, with replacement."""
    negatives_from: Annotated[Literal["others", "all"], CONTRAST] = "others"
    """Images that they are drawn from: the others of the step, or all of them."""
    exclude_same_class: Annotated[bool, CONTRAST] = True
    """Leave out negatives of the anchor's pseudo-class."""
    cell: Annotated[Literal[4, 8, 16], CONTRAST] = 8
    """Side of the square of pixels whose features are averaged and compared."""
    projection_width: Annotated[Count, CONTRAST] = 128
    """Channels in which pixels are compared."""
    ohem: Ohem = None
    """Mine hard pixels in the supervised loss; none: plain cross-entropy."""


class Pc2Seg(Projected):
    """L = L_x + w_c r(it) L_c + w_p L_p, of a weak and a strong view of one crop:

    - L_c = mean over pixels without padding of sum_c (softmax q_s - sg softmax q_w)^2.
    - L_p = mean over cells without padding of -log[ e^(z_s sg z_w / T) / (itself + sum over negatives k of
      e^(z_s k / T)) ], z the projected features of the strong and the weak view, of norm 1. 0 where there is no
      negative.

    The paper is known by its abstract; the readings are ours. Negatives are drawn for each image and shared by its
    anchors, from the weak views of all processes, without gradient; of those drawn, padding and cells of the anchor's
    class are left out. A cell's class is that of the weak view's logits averaged over it. The weak view, in one forward
    pass with the labelled images, teaches with the student's own weights. The student is evaluated. The inter-pixel
    loss takes the weak view's logits against the strong view's.
    """

    needs = Needs(unlabelled=True, strong=1, boxes=0)

    def __init__(self, config: Pc2SegConfig, context: MethodContext) -> None:
        super().__init__(context, config.projection_width)
        self.config = config

    def losses(self, step: Step) -> StepOutput:
        config, labelled, unlabelled = self.config, step.batch.labelled, step.batch.unlabelled
        assert unlabelled is not None
        view, count, progress = unlabelled.view, len(labelled.image), step.progress
        step.student.train()
        clean: Features = step.student(torch.cat([labelled.image, view.weak]), features=True)
        strong: Features = step.student(view.strong[0], features=True)
        own, valid = Target(logits=clean.logits[count:].detach(), ignore=view.ignore), view.ignore != IGNORE
        apart = (probabilities(strong.logits) - probabilities(own.logits)).square().sum(dim=1)
        contrast = torch.zeros((), device=apart.device)
        if config.contrast_weight > 0:
            contrast = self._contrast(step, clean.fused[count:].detach(), clean.coarse[count:].detach(), strong.fused)
        ramp = gaussian_ramp(progress.step, length=config.ramp * progress.total_steps)
        return StepOutput(
            terms={
                "supervised": supervised_loss(clean.logits[:count], labelled, step, config.ohem),
                "consistency": (apart * valid).sum() / step.denominator(valid.sum()),
                "contrast": contrast,
            },
            weights={
                "supervised": 1.0,
                "consistency": config.consistency_weight * ramp,
                "contrast": config.contrast_weight,
            },
            pairs=(own.pair("s1", strong.logits, None),) if self.context.pairs else (),
        )

    def _contrast(self, step: Step, weak: Tensor, coarse: Tensor, strong: Tensor) -> Tensor:
        """L_p of the weak view's features and coarse logits, and the strong view's features."""
        batch, config = step.batch, self.config
        assert batch.unlabelled is not None
        ignore = batch.unlabelled.view.ignore
        side = ignore.shape[-1]

        def cells(maps: Tensor) -> Tensor:
            return pooled(maps, side=side, cell=config.cell, method=config.name)

        image = whole_cells(ignore, cell=config.cell)
        label = torch.where(image, cells(exact(coarse)).argmax(dim=1), IGNORE)
        with torch.no_grad():
            positive = self.head(cells(weak))
        anchor = self.head(cells(strong))
        counts = [label.numel()] * batch.world
        keys, classes = self.context.gather(all_rows(positive), counts), self.context.gather(label.flatten(), counts)
        places = to_device(self._drawn(batch, label[0].numel()), keys.device)
        losses = [
            contrast_nll(
                all_rows(anchor[one : one + 1]),
                all_rows(positive[one : one + 1]),
                label[one].flatten() if config.exclude_same_class else torch.full_like(label[one].flatten(), -1),
                keys[places[one]],
                classes[places[one]],
                temperature=config.temperature,
            )
            for one in range(len(label))
        ]
        total: Tensor = (torch.stack(losses) * image.flatten(1)).sum() / step.denominator(image.sum())
        return total

    def _drawn(self, batch: SemiBatch, cells: int) -> Tensor:
        """Places (B, N) of the negatives among the cells of all processes' images, image after image."""
        own = len(batch.labelled.image)
        images, drawn = batch.world * own, []
        if self.config.negatives_from == "others" and images < 2:
            raise ConfigError(
                "method.negatives_from: others takes negatives from other images of a step, and data.batch_size over "
                "optim.accumulate leaves 1; raise the one, lower the other, or set method.negatives_from: all"
            )
        for place, rng in enumerate(image_generators(batch, NEGATIVES), batch.rank * own):
            if self.config.negatives_from == "all":
                image = rng.integers(images, size=self.config.negatives)
            else:
                image = (place + 1 + rng.integers(images - 1, size=self.config.negatives)) % images
            drawn.append(torch.from_numpy(image * cells + rng.integers(cells, size=self.config.negatives)))
        return torch.stack(drawn)
