"""PseudoSeg: soft pseudo-labels fused from the decoder and from refined class activation maps (methods: section 13)."""

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.common.depends_on import Above, OnlyIf
from trainers.common.float32 import exact, without_autocast
from trainers.common.section import Section
from trainers.common.transfer import to_device
from trainers.interface.batch import SemiBatch
from trainers.interface.labels import IGNORE
from trainers.interface.method import AuxiliaryModule, MethodContext, Needs, Stateless
from trainers.interface.step import Pair, Step, StepOutput
from trainers.losses.functional import cross_entropy, probabilities
from trainers.methods.heads import resized_labels
from trainers.methods.mixing import centred_box, image_generators
from trainers.methods.supervised import Ohem, supervised_loss
from trainers.methods.unused import CUTMIX, FEATURE_STREAM, NEVER, TARGET
from trainers.models.interface import Features, SegmentationModel
from trainers.models.upsample import Upsample

Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
CUTOUT = 0
PSEUDO_LABELS = OnlyIf({"pseudo_weight": Above(0)})


class PseudoSegConfig(Section):
    """PseudoSeg."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {CUTMIX: NEVER, TARGET: NEVER, FEATURE_STREAM: NEVER}

    name: Literal["pseudoseg"]
    pseudo_weight: Weight = 1.0
    """Weight of L_u; the others' is 1."""
    temperature: Annotated[float, Field(gt=0, le=1), PSEUDO_LABELS] = 0.5
    """T: the fused pseudo-label is sharpened to p^(1/T)."""
    fusion: Annotated[Share, PSEUDO_LABELS] = 0.5
    """g: share of the decoder in the fused pseudo-label; the rest is the refined activation maps'."""
    normaliser: Annotated[Literal["rms", "l2"], PSEUDO_LABELS] = "rms"
    """Both logits are divided by the root mean square of their entries over the batch (code), or by the root of the sum
    of squares, which flattens them (the paper's Eq. 4 as it reads)."""
    presence_thresh: Annotated[Share, PSEUDO_LABELS, OnlyIf({"image_labels": False})] = 0.5
    """A class has an activation map on an unlabelled image where the classifier gives it at least this probability."""
    image_labels: bool = False
    """The classes that an unlabelled image shows are known, from its mask. They take the place of the classifier's, and
    the classifier learns from these images instead of the labelled ones."""
    conf_thresh: Annotated[float, Field(ge=0, lt=1), PSEUDO_LABELS] = 0.0
    """Pixels whose largest pseudo-label entry is below add nothing to L_u's sum; they stay in its divisor."""
    background: Annotated[int, Field(ge=0)] | None = 0
    """The class without an activation map of its own; none: every class has one (Cityscapes)."""
    attention_dim: Annotated[int, Field(ge=1), PSEUDO_LABELS] = 128
    """Channels of key and query."""
    cutout: Annotated[float, Field(ge=0, le=1)] = 0.195
    """Side of the square that is cut from a strong view, as a share of the crop's; 100 of 513 pixels in the code."""
    ohem: Ohem = None
    """Mine hard pixels in the supervised loss (Cityscapes); none: plain cross-entropy."""


class PseudoSegHeads(nn.Module):
    """An image classifier over the last stage, and the self-attention that refines its activation maps.

    Args:
        middle, high: channels of the encoder's last but one and last stage.
        foreground: classes with an activation map.
    """

    def __init__(self, *, middle: int, high: int, foreground: int, num_classes: int, dim: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(high, foreground)
        self.key = nn.Conv2d(middle + high, dim, 1)
        self.query = nn.Conv2d(middle + high, dim, 1)
        self.upsample = Upsample("bilinear")
        self.out = nn.Sequential(nn.Conv2d(num_classes, num_classes, 1), nn.BatchNorm2d(num_classes))

    def classify(self, high: Tensor) -> Tensor:
        """Logits (B, K) of the classes that an image shows, from its last stage (B, C4, h, w)."""
        logits: Tensor = self.classifier(high.mean(dim=(2, 3)))
        return logits

    def attend(self, middle: Tensor, high: Tensor, cams: Tensor, valid: Tensor) -> Tensor:
        """Activation maps (B, K, h, w) spread along softmax(query . key / sqrt(dim)) over ``valid`` (B, h, w), with
        the maps themselves added. The features get no gradient."""
        if middle.shape[-2:] != high.shape[-2:]:
            middle = self.upsample(middle, (high.shape[-2], high.shape[-1])).to(high.dtype)
        features = torch.cat([middle, high], dim=1).detach()
        query, key = exact(self.query(features)).flatten(2), exact(self.key(features)).flatten(2)
        seen = valid.flatten(1)
        seen = seen | ~seen.any(dim=1, keepdim=True)
        with without_autocast(features.device):
            scores = query.transpose(1, 2) @ key / math.sqrt(key.shape[1])
            attention = scores.masked_fill(~seen[:, None], -torch.inf).softmax(dim=2)
            spread = (attention @ exact(cams).flatten(2).transpose(1, 2)).transpose(1, 2)
        return spread.view_as(cams) + cams


class PseudoSeg(Stateless):
    """L = L_x + w L_u + L_class + L_sgc.

    - L_u: soft cross-entropy of the decoder on a strong view with a square cut out, against the sharpened mixture of
      softmax(p / N) and softmax(m / N), at the decoder's resolution, over the pixels outside padding and square.
      p: the decoder's logits on the weak view (train mode, no gradient); m: the refined activation maps; N: root mean
      square over all entries of both, of all processes.
    - L_class: binary cross-entropy of the image classifier on labelled crops, in train mode: its features are those of
      the pass that gives L_x. With ``image_labels`` it is on the unlabelled weak views instead.
    - L_sgc: cross-entropy of m on labelled crops, in train mode; reaches the refinement alone.

    Activation maps of labelled crops are those of the classes that their masks show. Those of unlabelled images come
    from a pass in eval mode (running batch-norm statistics, no gradient), and are those of the classes that the
    classifier finds there, or of the known ones with ``image_labels``.

    The inter-pixel loss's teacher is the decoder's p: of the mixture there are only probabilities, normalised at each
    pixel, which no longer say how pixels compare.
    """

    def __init__(self, config: PseudoSegConfig, context: MethodContext) -> None:
        self.config, self.context, self.student = config, context, context.student
        self.needs = Needs(unlabelled=True, strong=1, boxes=0, presence=config.image_labels)
        self.foreground = [label for label in range(context.num_classes) if label != config.background]
        middle, high = cast(SegmentationModel, context.student).tap_channels
        heads = context.build(
            lambda: PseudoSegHeads(
                middle=middle,
                high=high,
                foreground=len(self.foreground),
                num_classes=context.num_classes,
                dim=config.attention_dim,
            )
        )
        self.heads = cast(PseudoSegHeads, heads)

    def trained(self) -> dict[str, AuxiliaryModule]:
        return {"heads": AuxiliaryModule(module=self.heads)}

    def losses(self, step: Step) -> StepOutput:
        config, labelled, unlabelled = self.config, step.batch.labelled, step.batch.unlabelled
        assert unlabelled is not None
        view = unlabelled.view
        self.heads.train()
        step.student.train()
        present = None
        if config.image_labels:
            assert unlabelled.presence is not None
            present = torch.stack([unlabelled.presence[:, one] for one in self.foreground], dim=1)  # waits for nothing
        weak = self._weak(step)
        clean: Features = step.student(labelled.image, features=True)
        hole = self.holes(step.batch)
        strong: Features = step.student(view.strong[0].masked_fill(hole[:, None], 0.0), features=True)
        with torch.no_grad():
            self.student.eval()
            seen: Features = self.student(view.weak, features=True)
            self.student.train()
            refined = self._refined(seen, view.ignore != IGNORE, present)
            target = self.fused(weak.coarse, self._resized(refined, weak.coarse))
        kept = (resized_labels(view.ignore, strong.coarse) != IGNORE) & (resized_labels(hole, strong.coarse) == 0)
        log_q = exact(strong.coarse).log_softmax(dim=1)
        trained = kept & (target.amax(dim=1) >= config.conf_thresh)
        soft = -(target * log_q).sum(dim=1) * trained

        shown = torch.stack([(labelled.mask == one).flatten(1).any(dim=1) for one in self.foreground], dim=1)
        on_labelled = self._resized(self._refined(clean, labelled.mask != IGNORE, shown), clean.logits)
        truth = shown if present is None else present
        logits = exact(self.heads.classify((clean if present is None else weak).high))
        pair = Pair(
            view="s1",
            teacher=weak.logits.detach(),
            student=strong.logits,
            ignore=view.ignore.masked_fill(hole, IGNORE),
            box=None,
        )
        return StepOutput(
            terms={
                "supervised": supervised_loss(clean.logits, labelled, step, config.ohem),
                "pseudo": soft.sum() / step.denominator(kept.sum()),
                "classify": F.binary_cross_entropy_with_logits(logits, truth.to(logits.dtype)),
                "refine": cross_entropy(on_labelled, labelled.mask, step.denominator),
            },
            weights={"supervised": 1.0, "pseudo": config.pseudo_weight, "classify": 1.0, "refine": 1.0},
            pairs=(pair,) if self.context.pairs else (),
            metrics={"mask_ratio": trained.sum() / kept.sum().clamp(min=1)},
        )

    def _weak(self, step: Step) -> Features:
        """The weak view's pass in train mode, with gradient where the classifier learns from it."""
        assert step.batch.unlabelled is not None
        images = step.batch.unlabelled.view.weak
        if self.config.image_labels:
            learned: Features = step.student(images, features=True)
            return learned
        with torch.no_grad():
            features: Features = self.student(images, features=True)
        return features

    def _refined(self, features: Features, valid: Tensor, present: Tensor | None) -> Tensor:
        """m (B, C, h, w) at the last stage's resolution."""
        cams = self.activation_maps(features.high, present)
        small = resized_labels(valid, features.high) == 1
        score = self.heads.attend(features.middle, features.high, cams, small)
        background = 2 - score.amax(dim=1)
        maps = dict(zip(self.foreground, score.unbind(dim=1), strict=True))
        every = [maps.get(label, background) for label in range(self.context.num_classes)]
        refined: Tensor = exact(self.heads.out(torch.stack(every, dim=1)))
        return refined

    def activation_maps(self, high: Tensor, present: Tensor | None) -> Tensor:
        """Grad-CAM (B, K, h, w) in 0 .. 1, without gradient: relu of the last stage's channels, weighted by their mean
        gradient of the class's logit; 0 for absent classes; every map divided by its maximum.

        Args:
            present: (B, K) bool; None: where the classifier's probability reaches ``presence_thresh``.
        """
        with without_autocast(high.device):
            with torch.enable_grad():
                point = exact(high.detach()).requires_grad_()
                logits = self.heads.classify(point)
                slopes = [torch.autograd.grad(one.sum(), point, retain_graph=True)[0] for one in logits.unbind(dim=1)]
            weights = torch.stack([one.mean(dim=(2, 3)) for one in slopes], dim=1)
            maps = torch.einsum("bkc,bchw->bkhw", weights, point.detach()).relu()
        if present is None:
            present = logits.detach().sigmoid() >= self.config.presence_thresh
        maps = maps * present[:, :, None, None]
        largest = maps.amax(dim=(2, 3), keepdim=True)
        return maps / torch.where(largest > 0, largest, torch.ones_like(largest))

    def fused(self, decoder: Tensor, refined: Tensor) -> Tensor:
        """The pseudo-label (B, C, h, w), summing to 1 over classes."""
        config, p, m = self.config, exact(decoder), exact(refined)
        squares, entries = p.square().sum() + m.square().sum(), torch.full((), 2.0 * p.numel(), device=p.device)
        scale = self.context.total(squares)
        if config.normaliser == "rms":
            scale = scale / self.context.total(entries)
        scale = scale.sqrt().clamp(min=torch.finfo(p.dtype).tiny)
        mixture = config.fusion * probabilities(p / scale) + (1 - config.fusion) * probabilities(m / scale)
        return (mixture.log() / config.temperature).softmax(dim=1)

    def holes(self, batch: SemiBatch) -> Tensor:
        """The squares that are cut out, (B, H, W) bool."""
        size = (batch.labelled.image.shape[-2], batch.labelled.image.shape[-1])
        drawn = [centred_box(rng, size, share=self.config.cutout) for rng in image_generators(batch, CUTOUT)]
        return to_device(torch.stack(drawn), batch.labelled.image.device)

    def _resized(self, refined: Tensor, like: Tensor) -> Tensor:
        resized: Tensor = cast(SegmentationModel, self.student).upsample(refined, (like.shape[-2], like.shape[-1]))
        return resized
