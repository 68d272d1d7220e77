"""U2PL: pixels that the teacher is unsure of are negatives for the classes that it rules out (methods: section 10)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from trainers.common.depends_on import Above, OnlyIf
from trainers.common.float32 import exact
from trainers.common.section import Section
from trainers.common.transfer import HostRead, to_device
from trainers.data.views import neighbour
from trainers.interface.batch import SemiBatch, Unlabelled
from trainers.interface.labels import IGNORE
from trainers.interface.method import AuxiliaryModule, MethodContext, Needs
from trainers.interface.step import Progress, Step, StepOutput
from trainers.losses.functional import pixel_nll, probabilities
from trainers.methods.bank import ClassBank
from trainers.methods.ema import Buffers, EmaTeacher
from trainers.methods.heads import RepresentationHead, all_rows, cosines, places_of, resized_labels
from trainers.methods.mixing import dropped_channels
from trainers.methods.pseudo import Target, mixed_target
from trainers.methods.supervised import Ohem, supervised_loss
from trainers.methods.teacher import EmaMethod
from trainers.methods.unused import FEATURE_STREAM, IF_BOXES, NEVER, STRONG_VIEWS, TARGET
from trainers.models.interface import Features, SegmentationModel

Weight = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
CONTRAST = OnlyIf({"contrast_weight": Above(0)})
STUDENT, TEACHER = (300, 301), (302, 303)
"""Streams of draws for labelled and unlabelled images."""


class U2plConfig(Section):
    """U2PL. CutMix is on weak views: `views.cutmix_area_min` and `_max: 0.5` is the paper's box."""

    others_only_if: ClassVar[Mapping[tuple[str, ...], OnlyIf]] = {
        STRONG_VIEWS: NEVER,
        TARGET: IF_BOXES,
        FEATURE_STREAM: NEVER,
    }

    name: Literal["u2pl"]
    unsupervised_weight: Weight = 1.0
    """Weight of L_u, beside the factor by which it grows as pixels are dropped."""
    contrast_weight: Weight = 0.1
    """lambda_c: 0.1 in the paper, 1 in the released configs."""
    supervised_epochs: Annotated[int, Field(ge=0)] = 1
    """Epochs on labelled images alone before all else begins: 1 on VOC, 0 on Cityscapes."""
    alpha0: Annotated[
        float, Field(gt=0, lt=1), OnlyIf({"unsupervised_weight": Above(0)}, {"contrast_weight": Above(0)})
    ] = 0.2
    """alpha_0: share of pixels, those of highest entropy, that are unreliable at first; it falls to 0 by epochs."""
    negatives_from: Annotated[Literal["unreliable", "reliable", "all"], CONTRAST] = "unreliable"
    """Unlabelled pixels that may be negatives."""
    r_l: Annotated[Count, CONTRAST] = 3
    """A labelled pixel is a negative of another class among its r_l likeliest; an unlabelled one is none of its r_l
    likeliest classes."""
    r_h: Annotated[Count, CONTRAST] = 20
    """An unlabelled pixel is a negative of the classes of rank r_l, ..., r_h - 1 (from 0). There are none where r_l is
    r_h or more, or C or more."""
    delta_p: Annotated[float, Field(ge=0, lt=1), CONTRAST] = 0.3
    """Probability of its class above which a pixel may be an anchor."""
    temperature: Annotated[float, Field(gt=0), CONTRAST] = 0.5
    """Divisor of the cosines."""
    head_dropout: Annotated[float, Field(ge=0, lt=1), CONTRAST] = 0.1
    """Probability that a channel within the representation head is dropped, the student's and the teacher's."""
    anchors: Annotated[Count, CONTRAST] = 256
    """Anchors drawn of each class and step, over all processes, with replacement."""
    negatives: Annotated[Count, CONTRAST] = 50
    """Negatives drawn for each anchor, with replacement."""
    bank_size: Annotated[Count, CONTRAST] = 30000
    """Negatives kept of each class, over all processes; 31 MB a class at 256 channels, and as much in
    every checkpoint."""
    background_size: Annotated[float, Field(gt=0), CONTRAST] = 1.667
    """Class 0's bank as a multiple of `bank_size`: 50000 of 30000."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Largest decay of the teacher's average, which begins where the labelled epochs end."""
    ema_buffers: Buffers = "own"
    """Batch-norm statistics of the teacher: its own, averaged like the weights, or copied."""
    ohem: Ohem = None
    """Mine hard pixels in the supervised loss (Cityscapes); none: plain cross-entropy."""


class U2pl(EmaMethod):
    """L = L_x + w_u L_u + lambda_c L_c, with alpha_t = alpha_0 (1 - epoch / epochs) and H the entropy of the teacher's
    answer (train mode) for the mixed unlabelled images that the student sees too.

    - L_u = (B H W / n) mean over the n pixels with H below its (1 - alpha_t)-quantile of CE(student, class of the
      teacher's mixed answer for the weak views, eval mode).
    - L_c, on the representation head's features of stride 4 (the head takes what the decoder's convolutions take):
      mean over the classes that are shown of mean over anchors of
      -log softmax([cos(z, z+), cos(z, z-_1), ...] / temperature)_0. A class is shown by labelled pixels and by pixels
      of its pseudo-label with H at most the alpha_t-quantile; of these, the ones with a teacher's probability above
      delta_p are its anchors z, in the student's features, and the mean of the teacher's is z+. z- come from the
      class's bank. A class without anchors or bank counts 0.
    - Into the bank of class c go the teacher's features of labelled pixels of another class, c among the r_l likeliest,
      and of unreliable unlabelled pixels, r_l <= rank of c < r_h.

    Quantiles, anchors and banks are over the images of all processes. Before `supervised_epochs` have passed the
    student learns from labelled images alone, and the teacher, whose weights are the student's until then, forwards
    them for its batch statistics. The inter-pixel loss takes teacher and student on the mixed images. The teacher is
    evaluated. The host waits once a step, for how many pixels each class has; they are counted before the student's
    pass and asked for after it.
    """

    needs = Needs(unlabelled=True, boxes=1)
    eval_network = "teacher"

    def __init__(self, config: U2plConfig, context: MethodContext) -> None:
        super().__init__(
            context.student, EmaTeacher(context.student, decay=config.ema_decay, buffers=config.ema_buffers)
        )
        self.config, self.context = config, context
        student = cast(SegmentationModel, context.student)
        width, inputs = student.fused_channels, student.neck_channels
        self.head = context.build(lambda: RepresentationHead(inputs, width))
        self.training_head = context.in_ddp(self.head)
        self.head_teacher = EmaTeacher(self.head, decay=config.ema_decay, buffers=config.ema_buffers)
        sizes = [round(config.background_size * config.bank_size)] + [config.bank_size] * (context.num_classes - 1)
        self.banks = context.place(nn.ModuleList(ClassBank(1, size=max(size, 1), width=width) for size in sizes))
        self.begun = False

    def trained(self) -> dict[str, AuxiliaryModule]:
        return {"head": AuxiliaryModule(module=self.head, in_ddp=True)}

    def bank(self, label: int) -> ClassBank:
        return cast(ClassBank, cast(nn.ModuleList, self.banks)[label])

    def losses(self, step: Step) -> StepOutput:
        progress = step.progress
        self.begun = progress.step >= self.config.supervised_epochs * progress.steps_per_epoch
        return self._both(step) if self.begun else self._labelled_only(step)

    def _labelled_only(self, step: Step) -> StepOutput:
        labelled = step.batch.labelled
        self.head_teacher(self.teacher.features(labelled.image).neck)
        step.student.train()
        logits = step.student(labelled.image)
        nothing = torch.zeros((), device=logits.device)
        return StepOutput(
            terms={
                "supervised": supervised_loss(logits, labelled, step, self.config.ohem),
                "unsupervised": nothing,
                "contrast": nothing,
            },
            weights=self._weights(),
            pairs=None,
        )

    def _weights(self) -> dict[str, float]:
        config = self.config
        return {
            "supervised": 1.0,
            "unsupervised": config.unsupervised_weight,
            "contrast": config.contrast_weight,
        }

    def _both(self, step: Step) -> StepOutput:
        labelled, unlabelled = step.batch.labelled, step.batch.unlabelled
        assert unlabelled is not None
        box, count, classes = unlabelled.boxes[0], len(labelled.image), self.context.num_classes
        target = self._pseudo_labels(unlabelled)
        partner = neighbour(unlabelled.view.weak) if unlabelled.partner is None else unlabelled.partner.weak
        images = torch.cat([labelled.image, torch.where(box[:, None], partner, unlabelled.view.weak)])
        seen = self.teacher.features(images)
        rows = self._teachers_rows(seen.neck, step.batch)

        valid = target.ignore != IGNORE
        label = torch.where(valid, target.logits.argmax(dim=1), target.ignore)
        entropy = torch.special.entr(probabilities(seen.logits[count:])).sum(dim=1)
        share = self._unreliable_share(step.progress)
        low, high = self._quantiles(entropy, valid, (share, 1 - share), step.batch.world)
        unreliable = (entropy >= high) & valid
        reliable = (entropy <= low) & valid
        trusted = torch.cat([labelled.mask, torch.where(reliable, label, IGNORE)])
        doubtful = {"unreliable": unreliable, "reliable": valid & ~unreliable, "all": valid}[self.config.negatives_from]
        negatives = self._negatives(seen.coarse, labelled.mask, doubtful)
        shown, candidates = self._shown(seen.coarse, trusted)
        counted = self._counted(negatives, shown, candidates, step.batch.world)
        step.student.train()
        student: Features = step.student(images, features=True)
        compared = self.training_head(student.neck, self._kept(step.batch, student.neck, STUDENT))
        kept = torch.where(unreliable, IGNORE, label)
        pixels = torch.full((), label.numel(), device=label.device)
        taught = step.denominator((kept != IGNORE).sum())
        nll = pixel_nll(student.logits[count:], kept).sum() / taught
        (counts,) = counted()
        self._fill(rows, negatives, counts[..., :2], step.batch.rank)
        pair = Target(logits=seen.logits[count:], ignore=target.ignore).pair("weak", student.logits[count:], box)
        return StepOutput(
            terms={
                "supervised": supervised_loss(student.logits[:count], labelled, step, self.config.ohem),
                "unsupervised": nll * step.denominator(pixels) / taught,
                "contrast": self._contrast(compared, rows, candidates, counts[..., 2:], step.batch),
            },
            weights=self._weights(),
            pairs=(pair,) if self.context.pairs else (),
            metrics={
                "mask_ratio": taught / step.denominator(pixels),
                "bank_rows": torch.cat([self.bank(one).count for one in range(classes)]).double().mean(),
            },
        )

    def _kept(self, batch: SemiBatch, like: Tensor, streams: tuple[int, int]) -> tuple[Tensor, Tensor] | None:
        """What the head drops of labelled and unlabelled images, (2B, W, 1, 1), twice."""
        if self.config.head_dropout == 0:
            return None
        width, probability = cast(SegmentationModel, self.student).fused_channels, self.config.head_dropout
        drawn = [dropped_channels(batch, 2 * width, probability=probability, stream=stream) for stream in streams]
        first, second = to_device(torch.cat(drawn).to(like.dtype), like.device)[:, :, None, None].chunk(2, dim=1)
        return first, second

    @torch.no_grad()
    def _teachers_rows(self, neck: Tensor, batch: SemiBatch) -> Tensor:
        """The teacher's features (2B, W, h, w)."""
        head = self.head_teacher.network.train(self.head_teacher.train_mode)
        rows: Tensor = head(neck, self._kept(batch, neck, TEACHER))
        return rows

    @torch.no_grad()
    def _pseudo_labels(self, unlabelled: Unlabelled) -> Target:
        """The teacher's answers for weak views, mixed; in eval mode."""
        view, partner = unlabelled.view, unlabelled.partner
        network = self.teacher.network.eval()
        own = Target(logits=network(view.weak), ignore=view.ignore)
        other = None if partner is None else Target(logits=network(partner.weak), ignore=partner.ignore)
        return mixed_target(own, other, unlabelled.boxes[0])

    def _unreliable_share(self, progress: Progress) -> float:
        epochs = progress.total_steps / progress.steps_per_epoch
        return self.config.alpha0 * (1 - (progress.step // progress.steps_per_epoch) / epochs)

    @torch.no_grad()
    def _quantiles(self, entropy: Tensor, valid: Tensor, shares: Sequence[float], world: int) -> list[Tensor]:
        """Those of the entropies (B, H, W) of all processes, where ``valid``."""
        values = torch.where(valid, entropy, torch.inf).flatten()
        every = self.context.gather(values, [len(values)] * world)
        number, ordered = every.isfinite().sum(), every.sort().values
        return [quantile(ordered, number, share) for share in shares]

    @torch.no_grad()
    def _negatives(self, coarse: Tensor, mask: Tensor, doubtful: Tensor) -> tuple[Tensor, Tensor]:
        """Which pixels of labelled and of unlabelled images are negatives of each class, (C, B, h, w) bool each.

        Args:
            coarse: the teacher's logits (2B, C, h, w).
            mask: labels of the labelled images (B, H, W).
            doubtful: the unlabelled pixels that may be negatives (B, H, W).
        """
        config, classes, count = self.config, self._each_class(coarse), len(mask)
        label, doubtful = resized_labels(mask, coarse), resized_labels(doubtful.long(), coarse) == 1
        rank = coarse.argsort(dim=1, descending=True, stable=True).argsort(dim=1).transpose(0, 1)
        known = (label != IGNORE) & (label != classes) & (rank[:, :count] < config.r_l)
        return known, doubtful & (rank[:, count:] >= config.r_l) & (rank[:, count:] < config.r_h)

    @torch.no_grad()
    def _shown(self, coarse: Tensor, trusted: Tensor) -> tuple[Tensor, Tensor]:
        """Which pixels show each class, and which of these are candidates for its anchors, (C, 2B, h, w) bool each.

        Args:
            coarse: the teacher's logits (2B, C, h, w).
            trusted: labels, or pseudo-labels where reliable (2B, H, W), 255 elsewhere.
        """
        here = resized_labels(trusted, coarse) == self._each_class(coarse)
        return here, here & (probabilities(coarse) > self.config.delta_p).transpose(0, 1)

    def _each_class(self, like: Tensor) -> Tensor:
        return torch.arange(self.context.num_classes, device=like.device)[:, None, None, None]

    def _counted(self, negatives: tuple[Tensor, Tensor], shown: Tensor, candidates: Tensor, world: int) -> HostRead:
        """Of each process (world, C, 6): negatives among labelled and unlabelled pixels; labelled and unlabelled
        pixels that show a class; of these the candidates for anchors."""
        parts = [*negatives, *shown.chunk(2, dim=1), *candidates.chunk(2, dim=1)]
        counts = torch.stack([part.flatten(1).sum(dim=1) for part in parts], dim=1)
        return HostRead(self.context.gather(counts[None], [1] * world))

    @torch.no_grad()
    def _fill(self, rows: Tensor, negatives: tuple[Tensor, Tensor], counts: Tensor, rank: int) -> None:
        """New negatives into the banks, those of labelled images first.

        Args:
            rows: the teacher's features (2B, W, h, w).
            counts: negatives of each process, class and kind (world, C, 2), on the host.
        """
        halves = [
            (all_rows(part), places_of(where.flatten(1), counts[rank, :, kind].tolist()), counts[..., kind].T.tolist())
            for kind, (part, where) in enumerate(zip(rows.chunk(2), negatives, strict=True))
        ]
        for one in range(self.context.num_classes):
            bank = self.bank(one)
            size = bank.rows.shape[1]
            for part, places, numbers in halves:
                new = self.context.gather(part[places[one][-size:]], [min(number, size) for number in numbers[one]])
                if len(new):
                    bank.push(0, new)

    def _contrast(self, student: Tensor, rows: Tensor, candidates: Tensor, counts: Tensor, batch: SemiBatch) -> Tensor:
        """L_c.

        Args:
            student, rows: the student's and the teacher's features (2B, W, h, w).
            candidates: which pixels may be anchors of each class (C, 2B, h, w).
            counts: of each process (world, C, 4) on the host: labelled and unlabelled pixels that show a class, and of
                these the candidates.
        """
        config, generator = self.config, torch.Generator().manual_seed(batch.seed)
        here = counts[batch.rank, :, 2:].sum(dim=1).tolist()
        mine_of, own, taught = places_of(candidates.flatten(1), here), all_rows(student), all_rows(rows)
        shown, losses = 0, exact(student).sum() * 0  # batch norm's backward pass needs all processes, anchors or not
        for one in range(self.context.num_classes):
            numbers = counts[:, one]
            shown += bool(numbers[:, :2].sum())
            memory = self.bank(one).of(0)
            if not numbers[:, 2:].sum() or not len(memory):
                continue
            summed = self.context.total(exact(taught[mine_of[one]]).sum(dim=0))
            positive = summed / float(numbers[:, 2:].sum())
            drawn = torch.randint(int(numbers[:, 2:].sum()), (config.anchors,), generator=generator)
            negatives = torch.randint(len(memory), (config.anchors, config.negatives), generator=generator)
            mine, places = _on_this_process(drawn, numbers[:, 2:], batch.rank)
            if not len(mine):
                continue
            anchors = exact(own[mine_of[one]])[to_device(places, student.device)]
            others = exact(memory[to_device(negatives[mine], memory.device)])
            keys = torch.cat([positive.expand(len(mine), 1, -1), others], dim=1)
            nll = -(cosines(anchors, keys) / config.temperature).log_softmax(dim=1)[:, 0]
            losses = losses + batch.world * nll.sum() / config.anchors
        return losses / max(shown, 1)

    def after_step(self) -> None:
        if self.begun:
            super().after_step()
            self.head_teacher.update()
        else:
            self.teacher.follow()
            self.head_teacher.follow()

    def state_dict(self) -> dict[str, Tensor]:
        head = {f"head.{name}": value for name, value in self.head_teacher.state_dict().items()}
        banks = {f"banks.{name}": value for name, value in self.banks.state_dict().items()}
        return {**super().state_dict(), **head, **banks}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        super().load_state_dict(state)
        for prefix, part in (("head.", self.head_teacher), ("banks.", self.banks)):
            part.load_state_dict({name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)})


def quantile(ordered: Tensor, number: Tensor, share: float) -> Tensor:
    """The value below which ``share`` of the first ``number`` of ``ordered`` (n,) lies, between two of them by linear
    interpolation; 0 of none. Not by torch.quantile, which takes 16 million values at most."""
    place = share * (number.double() - 1).clamp(min=0)
    lower = place.long()
    upper = torch.minimum(lower + 1, (number - 1).clamp(min=0))
    below, above = ordered[torch.stack([lower, upper])]
    found = below.lerp(above, (place - lower).to(ordered.dtype))
    return torch.where(number > 0, found, torch.zeros_like(found))


def _on_this_process(drawn: Tensor, counts: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Of the numbers drawn from all candidates, those that are this process's, and which of its candidates they are.

    The candidates of all processes are counted as one process with all images would: labelled ones by rank, then
    unlabelled ones by rank.

    Args:
        drawn: (n,) from 0 to all candidates.
        counts: (world, 2), labelled and unlabelled candidates of each process.

    Returns:
        indices into ``drawn`` and, for each, the place among this process's candidates, labelled ones first.
    """
    labelled, unlabelled = counts[rank].tolist()
    first_labelled = int(counts[:rank, 0].sum())
    first_unlabelled = int(counts[:, 0].sum() + counts[:rank, 1].sum())
    place = torch.full_like(drawn, -1)
    for first, number, before in ((first_labelled, labelled, 0), (first_unlabelled, unlabelled, labelled)):
        inside = (drawn >= first) & (drawn < first + number)
        place = torch.where(inside, drawn - first + before, place)
    mine = (place >= 0).nonzero().flatten()
    return mine, place[mine]
