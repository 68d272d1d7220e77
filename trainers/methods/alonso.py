"""Alonso et al.: pixel contrast with a class-wise memory of good labelled features (methods: section 14)."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from trainers.common.depends_on import Above, OnlyIf
from trainers.common.section import Section
from trainers.common.transfer import HostRead, to_device
from trainers.data.views import neighbour
from trainers.interface.batch import SemiBatch
from trainers.interface.labels import IGNORE
from trainers.interface.method import AuxiliaryModule, MethodContext, Needs
from trainers.interface.step import Progress, Step, StepOutput
from trainers.losses.functional import class_sizes, pixel_nll, probabilities
from trainers.losses.ramps import gaussian_ramp
from trainers.methods.bank import ClassBank
from trainers.methods.ema import Buffers, EmaTeacher
from trainers.methods.heads import ContrastHeads, resized_labels, rows_by_class, weighted_distance
from trainers.methods.mixing import chosen_classes, drawn_images
from trainers.methods.pseudo import Target
from trainers.methods.supervised import Ohem, supervised_loss
from trainers.methods.teacher import EmaMethod
from trainers.methods.unused import CUTMIX, FEATURE_STREAM, NEVER, TARGET
from trainers.models.interface import Features, SegmentationModel

Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
CONTRAST = OnlyIf({"contrast_weight": Above(0)})


class AlonsoConfig(Section):
    """Alonso et al. Starts are shares of the whole training: 1000 and 2000 of the paper's 150,000 steps."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {
        CUTMIX: NEVER,
        TARGET: NEVER,
        FEATURE_STREAM: NEVER,
        ("loss.class_weights",): OnlyIf({"method.class_weights": False}),
    }

    name: Literal["alonso"]
    pseudo_weight: Weight = 1.0
    """lambda_pseudo: weight of the pseudo-labels' loss."""
    confidence_power: Annotated[Weight, OnlyIf({"pseudo_weight": Above(0)})] = 6.0
    """s: a pixel's pseudo-label counts by confidence^s."""
    pseudo_start: Annotated[Share, OnlyIf({"pseudo_weight": Above(0)}, {"pseudo_warmup": "gaussian"})] = 0.0133
    """Before it, pseudo-labels have no weight (`pseudo_warmup: none`) or a growing one (`gaussian`)."""
    pseudo_warmup: Literal["none", "gaussian"] = "none"
    """`none`: nothing before `pseudo_start`, as the paper; `gaussian`: a ramp up to it, and ClassMix only after it, as
    the code."""
    entropy_weight: Weight = 0.01
    """lambda_ent, weight of the entropy of the student's predictions on strong views."""
    contrast_weight: Weight = 0.1
    """lambda_contr, weight of the contrastive loss between pixel features and those in the bank."""
    contrast_start: Annotated[Share, CONTRAST] = 0.0133
    """Share of the training before the contrastive loss begins."""
    bank_start: Annotated[Share, CONTRAST] = 0.0067
    """Share of the training before the bank is filled."""
    memory_size: Annotated[int, Field(ge=2), CONTRAST] = 256
    """Vectors kept of each class."""
    quality_thresh: Annotated[Share, CONTRAST] = 0.95
    """phi: the teacher's confidence above which a correctly classified labelled pixel may enter the bank."""
    bank_order: Annotated[Literal["best", "worst"], CONTRAST] = "best"
    """Which candidates enter: those that the class's selector rates highest (paper), or lowest (code)."""
    classes_per_image: Annotated[Annotated[float, Field(gt=0)] | None, CONTRAST] = None
    """Images bring max(1, round(memory_size / labelled images)) vectors of a class each; given, C / it times as many
    (the code has 3 on VOC, whose images show few of the classes)."""
    memory_weights: Annotated[Literal["rows", "one"], CONTRAST] = "rows"
    """Weights of the bank's vectors: their selector's, of mean 1 (paper), or all 1 (what the code comes to)."""
    classmix_p: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Probability that a strong image is mixed by classes with its neighbour's."""
    class_fraction: Annotated[float, Field(gt=0, lt=1), OnlyIf({"classmix_p": Above(0)})] = 0.5
    """Share of the classes in an image's prediction that stay, rounded down, and one more; all else is the
    neighbour's."""
    background: Annotated[Annotated[int, Field(ge=0)] | None, OnlyIf({"classmix_p": Above(0)})] = 0
    """The class that stays only where the image shows no other, on VOC the background; none: it is a class like all
    others (Cityscapes)."""
    class_weights: bool = False
    """Weigh the cross-entropies by sqrt(median frequency / frequency) of the pixel's class in labels and pseudo-labels
    so far (the paper on Cityscapes)."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.995
    """Decay of the teacher's average at the start; it rises to 1 along a cosine."""
    ema_buffers: Buffers = "own"
    """Batch-norm statistics of the teacher: its own, averaged like the weights, or copied."""
    ohem: Annotated[Ohem, OnlyIf({"class_weights": False})] = None
    """Mine hard pixels in the supervised loss (Cityscapes); none: plain cross-entropy."""


class Alonso(EmaMethod):
    """L = L_x + w_p L_pseudo + w_e L_ent + w_c (L_contr(labelled) + L_contr(unlabelled)).

    - L_x: with ``class_weights`` divided by the sum of the labelled pixels' weights.
    - L_pseudo: mean over all pixels of both strong views of conf^s CE(student, teacher's class); padding counts 0. A
      pixel's class weight multiplies its loss and is not in the divisor.
    - L_ent: entropy of the student on the strong views / log C, mean over pixels without padding.
    - L_contr: sum over classes / C of the mean over all pairs of the class's pixels p and bank vectors z of
      w_p w_z (1 - cos(prediction(projection(p)), z)); w a selector's sigmoid, over the mean of all. A class takes part
      with two pixels and two vectors at least. Means are over the pixels of all processes.

    The bank has projections by the averaged heads of teacher features that are classified correctly and with a
    confidence above phi; of those, the best by the averaged memory selector. The inter-pixel loss takes both mixed
    views. The host waits once a step, for how many pixels each class has; they are counted before the student's passes
    and asked for after them.
    """

    needs = Needs(unlabelled=True, strong=2, boxes=0)

    def __init__(self, config: AlonsoConfig, context: MethodContext) -> None:
        decay = {"decay": config.ema_decay, "buffers": config.ema_buffers, "pace": 10.0}
        super().__init__(context.student, EmaTeacher(context.student, **decay))  # type: ignore[arg-type]
        self.config, self.context = config, context
        width = cast(SegmentationModel, context.student).fused_channels
        self.heads = cast(ContrastHeads, context.build(lambda: ContrastHeads(width, context.num_classes)))
        self.head_teacher = EmaTeacher(self.heads, **decay)  # type: ignore[arg-type]
        self.bank = cast(ClassBank, context.place(ClassBank(context.num_classes, size=config.memory_size, width=width)))
        self.seen = torch.zeros(context.num_classes, dtype=torch.float64)
        self.decay = config.ema_decay
        each = round(config.memory_size / context.labelled)
        more = 1.0 if config.classes_per_image is None else context.num_classes / config.classes_per_image
        self.per_image = max(1, round(more * each))

    def trained(self) -> dict[str, AuxiliaryModule]:
        return {"heads": AuxiliaryModule(module=self.heads)}

    def losses(self, step: Step) -> StepOutput:
        config, labelled, unlabelled = self.config, step.batch.labelled, step.batch.unlabelled
        assert unlabelled is not None
        progress, view = step.progress, unlabelled.view
        own = Target(logits=self.teacher(view.weak), ignore=view.ignore)
        seen = None
        if progress.step >= config.bank_start * progress.total_steps:
            seen = self._candidates(self.teacher.features(labelled.image), labelled.mask)
        mixed = [self._mixed(step, own, stream) for stream in range(2)]
        target = Target(
            logits=torch.cat([one.logits for _, one in mixed]), ignore=torch.cat([one.ignore for _, one in mixed])
        )
        label, confidence = target.pseudo_labels()
        label = torch.where(target.ignore == IGNORE, target.ignore, label)
        counted = None if seen is None else self._counted(seen, labelled.mask, label, step.batch.world)
        step.student.train()
        clean: Features = step.student(labelled.image, features=True)
        strong: Features = step.student(torch.cat([images for images, _ in mixed]), features=True)
        weights = self._class_weights(labelled.mask, label)
        nll = pixel_nll(strong.logits, label) * _each(weights, label)
        valid = target.ignore != IGNORE
        p = probabilities(strong.logits)
        entropy = torch.special.entr(p).sum(dim=1) / math.log(self.context.num_classes) * valid
        every = torch.full((), label.numel(), device=label.device)
        terms = {
            "supervised": supervised_loss(
                clean.logits, labelled, step, config.ohem if weights is None else None, weights=weights
            ),
            "pseudo": (confidence.to(nll.dtype) ** config.confidence_power * nll).sum() / step.denominator(every),
            "entropy": entropy.sum() / step.denominator(valid.sum()),
            "contrast": nll.new_zeros(()),
        }
        nothing = torch.zeros(step.batch.world, 3, self.context.num_classes, dtype=torch.int64)  # the bank is empty
        numbers = nothing if counted is None else counted()[0]
        if seen is not None:
            self._fill(seen, numbers[:, 0], step.batch)
        if progress.step >= config.contrast_start * progress.total_steps:
            terms["contrast"] = self._contrast(clean.fused, labelled.mask, numbers[:, 1], step.batch) + self._contrast(
                strong.fused, label, numbers[:, 2], step.batch
            )
        pairs = tuple(
            one.pair(name, logits, None)
            for name, (_, one), logits in zip(("s1", "s2"), mixed, strong.logits.chunk(2), strict=True)
        )
        self.decay = 1 - (1 - config.ema_decay) * (math.cos(math.pi * progress.step / progress.total_steps) + 1) / 2
        return StepOutput(
            terms=terms,
            weights={
                "supervised": 1.0,
                "pseudo": config.pseudo_weight * self._warmth(progress),
                "entropy": config.entropy_weight,
                "contrast": config.contrast_weight,
            },
            pairs=pairs if self.context.pairs else (),
            metrics={"bank_rows": self.bank.count.double().mean()},
        )

    def _warmth(self, progress: Progress) -> float:
        start = self.config.pseudo_start * progress.total_steps
        if self.config.pseudo_warmup == "none":
            return float(progress.step >= start)
        return gaussian_ramp(progress.step, length=start)

    def _mixed(self, step: Step, own: Target, stream: int) -> tuple[Tensor, Target]:
        """A strong view mixed by classes with its neighbour, and the teacher's answer for it."""
        config, batch, progress = self.config, step.batch, step.progress
        assert batch.unlabelled is not None
        images = batch.unlabelled.view.strong[stream]
        late = progress.step >= config.pseudo_start * progress.total_steps
        if config.pseudo_warmup == "gaussian" and not late:
            return images, own
        chosen = chosen_classes(
            batch,
            own.logits.argmax(dim=1),
            num_classes=self.context.num_classes,
            fraction=config.class_fraction,
            more=1,
            last=config.background,
            stream=stream,
        )
        drawn = to_device(drawn_images(batch, probability=config.classmix_p, stream=stream), images.device)
        others = ~chosen & drawn[:, None, None]
        target = own.mixed(others, Target(logits=neighbour(own.logits), ignore=neighbour(own.ignore)))
        return torch.where(others[:, None], neighbour(images), images), target

    def _class_weights(self, *labels: Tensor) -> Tensor | None:
        """(C,), after these labels are counted; 1 for a class that was not seen yet."""
        if not self.config.class_weights:
            return None
        counts = sum(class_sizes(one, self.context.num_classes).sum(dim=0) for one in labels)
        self.seen = to_device(self.seen, labels[0].device) + self.context.total(cast(Tensor, counts).double())
        there = self.seen > 0
        median = torch.where(there, self.seen, torch.nan).nanmedian()
        return torch.where(there, (median / self.seen.clamp(min=1)).sqrt(), 1.0)

    @torch.no_grad()
    def _candidates(self, features: Features, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The averaged heads' projections (B, W, h, w) of the labelled images, and the classes for whose bank their
        pixels are good enough (B, h, w), 255 where for none."""
        heads = self.head_teacher.network.train(self.head_teacher.train_mode)
        projected = cast(ContrastHeads, heads).project(features.fused)
        confidence, prediction = probabilities(features.coarse).max(dim=1)
        label = resized_labels(mask, projected)
        good = (prediction == label) & (confidence > self.config.quality_thresh)
        return projected, torch.where(good, label, IGNORE)

    def _counted(self, seen: tuple[Tensor, Tensor], mask: Tensor, label: Tensor, world: int) -> HostRead:
        """Pixels of each class, of each process (world, 3, C): candidates for the bank, then at the features'
        resolution those of labelled images and those of mixed ones."""
        projected, good = seen
        maps = (good, resized_labels(mask, projected), resized_labels(label, projected))
        counts = torch.stack([class_sizes(one, self.context.num_classes).sum(dim=0) for one in maps])
        return HostRead(self.context.gather(counts[None], [1] * world))

    @torch.no_grad()
    def _fill(self, seen: tuple[Tensor, Tensor], numbers: Tensor, batch: SemiBatch) -> None:
        """New vectors into the bank.

        Args:
            seen: as :meth:`_candidates` gives it.
            numbers: candidates of each process and class (world, C), on the host.
        """
        projected, label = seen
        heads = cast(ContrastHeads, self.head_teacher.network).train(self.head_teacher.train_mode)
        most = min(self.per_image * len(label) * batch.world, self.config.memory_size)
        candidates = rows_by_class(projected, label, numbers[batch.rank].tolist())
        for one, (rows, counts) in enumerate(zip(candidates, numbers.T.tolist(), strict=True)):
            if sum(counts) > most:
                rows = self._best(rows, heads.rate(rows, one, memory=True), most, counts)
            elif sum(counts):
                rows = self.context.gather(rows, counts)
            self.bank.push(one, rows)

    def _best(self, rows: Tensor, score: Tensor, most: int, counts: Sequence[int]) -> Tensor:
        """The ``most`` best rows of all processes, of which each has ``counts``; the best last."""
        score = score if self.config.bank_order == "best" else -score
        here, kept = score.sort(descending=True, stable=True).indices[:most], [min(most, count) for count in counts]
        score, rows = self.context.gather(score[here], kept), self.context.gather(rows[here], kept)
        return rows[score.sort(descending=True, stable=True).indices[:most].flip(0)]

    def _contrast(self, fused: Tensor, labels: Tensor, counts: Tensor, batch: SemiBatch) -> Tensor:
        """L_contr of features (B, W, h, w) with labels (B, H, W). Each process rates its share of the memory, so that
        every vector counts once in the selectors' batch statistics.

        Args:
            counts: pixels of each process and class (world, C) at the features' resolution, on the host.
        """
        predicted = self.heads.predict(self.heads.project(fused))
        rows = rows_by_class(predicted, resized_labels(labels, predicted), counts[batch.rank].tolist())
        numbers = counts.sum(dim=0).tolist()
        loss = predicted.new_zeros((), dtype=torch.promote_types(predicted.dtype, torch.float32))
        for one, number in enumerate(numbers):
            memory = self.bank.of(one)
            if number < 2 or len(memory) < 2:
                continue
            mine = memory[batch.rank :: batch.world]
            weights = self.heads.rate(mine, one, memory=True)
            if self.config.memory_weights == "one":
                weights = torch.ones_like(weights)
            rating = self.heads.rate(rows[one].detach(), one, memory=False)
            loss = loss + weighted_distance(rows[one], rating, mine, weights, self.context.total)
        mean: Tensor = loss / self.context.num_classes
        return mean

    def after_step(self) -> None:
        self.teacher.update(self.decay)
        self.head_teacher.update(self.decay)

    def state_dict(self) -> dict[str, Tensor]:
        heads = {f"heads.{name}": value for name, value in self.head_teacher.state_dict().items()}
        bank = {f"bank.{name}": value for name, value in self.bank.state_dict().items()}
        return {**super().state_dict(), **heads, **bank, "seen": self.seen}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        super().load_state_dict(state)
        for prefix, part in (("heads.", self.head_teacher), ("bank.", self.bank)):
            part.load_state_dict({name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)})
        self.seen = state["seen"].clone()


def _each(weights: Tensor | None, label: Tensor) -> Tensor | float:
    """The weight of every pixel's class."""
    return 1.0 if weights is None else weights[torch.where(label == IGNORE, 0, label)]
