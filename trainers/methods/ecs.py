"""ECS: a second network learns to correct the first one's predictions, and so makes its targets (methods: section
25.7)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from trainers.common.depends_on import Above, OnlyIf
from trainers.common.float32 import exact
from trainers.common.section import Section
from trainers.interface.batch import Labelled
from trainers.interface.labels import IGNORE
from trainers.interface.method import AuxiliaryModule, MethodContext, Needs, Stateless
from trainers.interface.step import Pair, Step, StepOutput
from trainers.losses.functional import cross_entropy, pixel_nll, probabilities
from trainers.losses.ramps import gaussian_ramp
from trainers.methods.corrector import RIGHT, Corrector, corrections
from trainers.methods.held import held
from trainers.methods.supervised import Ohem, supervised_loss
from trainers.methods.unused import CUTMIX, FEATURE_STREAM, NEVER, STRONG_VIEWS, TARGET
from trainers.models.interface import SegmentationModel

Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
USED = OnlyIf({"correction_weight": Above(0)}, {"unsupervised_weight": Above(0)}, {"interpixel.alpha": Above(0)})


class EcsConfig(Section):
    """ECS. There is no public code: defaults are ours."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {
        STRONG_VIEWS: OnlyIf({"method.corrector_view": "strong"}),
        CUTMIX: NEVER,
        TARGET: NEVER,
        FEATURE_STREAM: NEVER,
    }

    name: Literal["ecs"]
    correction_weight: Weight = 0.02
    """w_1: how much the student is pulled to predictions that the corrector calls right, on labelled images."""
    unsupervised_weight: Weight = 1.0
    """w_2, of the corrected labels of unlabelled images."""
    start: Annotated[Share, OnlyIf({"unsupervised_weight": Above(0)}, {"interpixel.alpha": Above(0)})] = 0.05
    """Share of the training before which the corrector's labels are not learned."""
    ramp: Annotated[Share, OnlyIf({"unsupervised_weight": Above(0)})] = 0.1
    """Share of the training, from `start` on, until w_2 has its full size, along the Gaussian ramp."""
    corrector_view: Annotated[Literal["weak", "strong"], USED] = "weak"
    """Labelled images on whose predictions the corrector learns: those that the student learns from, or strong versions
    of them, in one more forward pass. With few labels the student soon makes no errors on the first."""
    corrector_lr: Annotated[float, Field(gt=0), USED] = 1e-4
    """Adam's learning rate of the corrector; it falls as the others' do."""
    corrector_width: Annotated[int, Field(ge=1), USED] = 32
    """Channels of the corrector's first convolution; the next two have twice and four times as many."""
    right_weight: Annotated[float, Field(gt=0, le=1), USED] = 0.2
    """Weight of right pixels in the corrector's loss, beside 1 of wrong ones: almost all are right."""
    ohem: Ohem = None
    """Mine hard pixels in the supervised loss; none: plain cross-entropy."""


class Ecs(Stateless):
    """L = L_x + w_1 L_right + w_2 r(it) L_u + L_g, with q the student's logits for weak views and
    g = corrector(image, softmax q) of C + 1 classes: 0, the prediction is right; 1 + c, it should be c.

    - L_g, which moves the corrector alone, on labelled images: mean, weighted by `right_weight` where t = 0 and 1 else
      and divided by the sum of these weights, of CE(g(x, sg softmax q), t); t = 0 where argmax q = y, else 1 + y.
    - L_right = mean over labelled pixels of CE(g(x, softmax q), 0), with the corrector's weights held.
    - L_u = mean over unlabelled pixels without padding of max softmax g CE(q, y'), y' = argmax q where argmax g = 0 and
      argmax g - 1 else; all but the student's q in the cross-entropy without gradient.

    r is 0 before `start`, then a Gaussian ramp. The paper is known by its abstract and introduction; the corrector's
    form (a small network with group norm) is ours. The student is evaluated. The inter-pixel loss attaches from `start`
    on: its teacher is log(softmax(g)_0 softmax q + softmax(g)_(1..C)) + logsumexp q, which is q where the corrector
    finds nothing to correct.
    """

    def __init__(self, config: EcsConfig, context: MethodContext) -> None:
        self.config, self.context, self.student = config, context, context.student
        self.needs = Needs(unlabelled=True, labelled_strong=int(config.corrector_view == "strong"))
        bands = cast(SegmentationModel, context.student).input_spec.bands
        self.corrector = context.build(
            lambda: Corrector(context.num_classes, width=config.corrector_width, bands=bands)
        )
        self.training_corrector = context.in_ddp(self.corrector)

    def trained(self) -> dict[str, AuxiliaryModule]:
        return {
            "corrector": AuxiliaryModule(module=self.corrector, adam_lr=self.config.corrector_lr, in_ddp=True),
        }

    def losses(self, step: Step) -> StepOutput:
        config, labelled, unlabelled, progress = self.config, step.batch.labelled, step.batch.unlabelled, step.progress
        assert unlabelled is not None
        seen = self._examples(labelled)
        step.student.train()
        view, count = unlabelled.view, len(labelled.image)
        logits = step.student(torch.cat([labelled.image, view.weak]))
        clean, weak = logits[:count], logits[count:]
        images, answer = (labelled.image, clean.detach()) if seen is None else seen
        true = corrections(answer, labelled.mask)
        judged = held(self.corrector)(labelled.image, probabilities(clean))
        wanted = torch.where(labelled.mask == IGNORE, IGNORE, RIGHT)
        begin = config.start * progress.total_steps
        begun = progress.step >= begin
        ramp = gaussian_ramp(progress.step - begin, length=config.ramp * progress.total_steps) if begun else 0.0
        with torch.no_grad():
            said = probabilities(self.corrector(view.weak, probabilities(weak.detach())))
        certainty, correction = said.max(dim=1)
        label = torch.where(correction == RIGHT, weak.detach().argmax(dim=1), correction - 1)
        valid = view.ignore != IGNORE
        nll = pixel_nll(weak, torch.where(valid, label, IGNORE))
        return StepOutput(
            terms={
                "supervised": supervised_loss(clean, labelled, step, config.ohem),
                "right": cross_entropy(judged, wanted, step.denominator),
                "unsupervised": (certainty * nll).sum() / step.denominator(valid.sum()),
                "corrector": self._corrector_loss(step, images, answer, true),
            },
            weights={
                "supervised": 1.0,
                "right": config.correction_weight,
                "unsupervised": config.unsupervised_weight * ramp,
                "corrector": 1.0,
            },
            pairs=self._pairs(weak, said, view.ignore) if begun else None,
            metrics={"corrected": ((correction != RIGHT) & valid).sum() / step.denominator(valid.sum())},
        )

    def _examples(self, labelled: Labelled) -> tuple[Tensor, Tensor] | None:
        """The strong labelled images and the student's answers for them, in eval mode; None: the weak ones serve."""
        if not labelled.strong:
            return None
        self.student.eval()
        with torch.no_grad():
            return labelled.strong[0], self.student(labelled.strong[0])

    def _corrector_loss(self, step: Step, images: Tensor, answer: Tensor, true: Tensor) -> Tensor:
        """L_g of predictions' logits (B, C, H, W) and true corrections (B, H, W)."""
        nll = pixel_nll(self.training_corrector(images, probabilities(answer)), true)
        weight = torch.where(true == RIGHT, self.config.right_weight, 1.0) * (true != IGNORE)
        # The divisor is at least 1 where it is asked for a number of pixels, and may be less than that here.
        least = torch.full((), self.config.right_weight, device=nll.device)
        loss: Tensor = (weight / least * nll).sum() / step.denominator((weight / least).sum())
        return loss

    def _pairs(self, weak: Tensor, said: Tensor, ignore: Tensor) -> tuple[Pair, ...]:
        if not self.context.pairs:
            return ()
        own = exact(weak.detach())
        mixed = said[:, :1] * own.softmax(dim=1) + said[:, 1:]
        teacher = mixed.clamp(min=torch.finfo(mixed.dtype).tiny).log() + own.logsumexp(dim=1, keepdim=True)
        return (Pair(view="weak", teacher=teacher, student=weak, ignore=ignore, box=None),)
