"""The state of one training run on one process, and the steps that move it."""

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from trainers.common.float32 import many_sizes
from trainers.config import TrainConfig
from trainers.data.loader import TrainLoader
from trainers.data.loading import kept_images
from trainers.data.open import OpenData, open_data
from trainers.data.read import Reader
from trainers.data.rng_streams import Stream, generator
from trainers.interface.batch import SemiBatch
from trainers.interface.epoch_record import EpochRecord
from trainers.interface.method import Needs
from trainers.interface.step import Progress, Step, StepOutput
from trainers.loop import process_group
from trainers.loop import run_identity as identity
from trainers.loop.batch_norm import statistics_of
from trainers.loop.compile import begin_step
from trainers.loop.labelled_loss import make_labelled_loss
from trainers.loop.lr_schedule import lr_factors, warmup_lines
from trainers.loop.method_context import make_context
from trainers.loop.network_check import check_input
from trainers.loop.precision import autocast, precision_lines
from trainers.loop.resource_meter import StepClock, forget_peak
from trainers.loop.stages import stage_epochs, unlabelled_images
from trainers.loop.step_means import StepMeans
from trainers.loop.together import together
from trainers.loop.trained_networks import TrainedNetworks
from trainers.losses.interpixel import InterPixelLoss
from trainers.losses.ramps import gaussian_ramp, warmup_steps
from trainers.methods.registry import build_method
from trainers.models.build import build_model
from trainers.models.interface import SegmentationModel

CHECK_EVERY = 50
"""Steps between two looks at whether the losses are finite (on a GPU each look waits for the device)."""

StepHook = Callable[[int, int], None]
"""Called as hook(steps done, steps in all) after every step, to draw a progress line."""


class Run:
    """The state of one run on this process; :func:`fit` drives it."""

    def __init__(self, config: TrainConfig, run_dir: Path) -> None:
        self.config = config
        self.run_dir = run_dir
        self.folder = run_dir / "checkpoints"
        self.process = process_group.current(config.precision.device)
        forget_peak(self.process.device)
        self.data: OpenData = together(lambda: open_data(config.data, final=config.evaluation.final))
        self.labelled_loss = together(lambda: make_labelled_loss(config, self.data, self.process))
        context = make_context(
            config,
            num_classes=self.data.num_classes,
            process=self.process,
            labelled=len(self.data.labelled),
            unlabelled=len(self.data.unlabelled),
        )
        self.student = cast(SegmentationModel, context.student)
        check_input(config, self.student.input_spec, world=self.process.world)
        self.method = build_method(config.method, context)
        self.networks = TrainedNetworks(self.student, self.method, config, self.process)
        self.stages = self.method.stages()
        self.epochs = stage_epochs(self.stages, config.schedule.epochs)
        self.stage = 0
        kept = kept_images(config, self.data)
        self.kept = kept.at_most(int(self.process.smallest(kept.size)))
        loaders = [
            self._loader_of(stage.needs, None) for stage in self.stages
        ]  # all lists are checked before the first step
        self.loader = loaders[0]
        self.asked = self.loader.asked(self.process.device)
        self.reader = Reader(self.data.num_classes, store_bytes=self.kept.size)
        self.interpixel = InterPixelLoss(config.interpixel)
        self.denominator = self.process.denominator(config.optim.denominator)
        steps = [len(epochs) * one.steps_per_epoch for epochs, one in zip(self.epochs, loaders, strict=True)]
        self.remarks = [started] if (started := self.student.started_from) else []
        self.remarks += precision_lines(config.precision, self.process.device) + [
            line
            for one, total in zip(loaders, steps, strict=True)
            for line in warmup_lines(config.schedule, steps_per_epoch=one.steps_per_epoch, total=total)
        ]
        """What a user should know before the first step."""
        self.begins = [sum(steps[:number]) for number in range(len(steps))]
        self.total_steps = sum(steps)
        self.step = 0
        self.records: list[EpochRecord] = []
        self.best: tuple[float, int] | None = None
        self.unscored: dict[str, float] | None = None
        """Means of the epoch that was trained and saved, and is not evaluated yet."""

        self.latest: dict[str, float] = {}

    def _loader_of(self, needs: Needs, pseudo: Mapping[int, bytes] | None) -> TrainLoader:
        return TrainLoader(
            self.data,
            self.config,
            needs,
            rank=self.process.rank,
            world=self.process.world,
            device=self.process.device,
            pseudo=pseudo,
            kept=self.kept,
            spec=self.student.input_spec,
        )

    def _reach(self, epoch: int) -> None:
        """The stage of an epoch: begun where it is its first one, else taken up from what the checkpoint had."""
        stage = next(number for number, epochs in enumerate(self.epochs) if epoch in epochs)
        if stage == self.stage:
            return
        if epoch == self.epochs[stage].start:
            skip = self.config.data.on_corrupt == "skip"
            images = unlabelled_images(
                self.data,
                reader=self.reader,
                process=self.process,
                skip_corrupt=skip,
                spec=self.student.input_spec,
            )
            with self._autocast(), many_sizes():
                self.method.begin(stage, images)
            if self.stages[stage].fresh:
                seed = int(generator(self.config.init_seed, Stream.STAGE, stage).integers(2**31))
                fresh = build_model(self.config.model, num_classes=self.data.num_classes, seed=seed)
                self.student.load_state_dict(fresh.state_dict())
            self.networks.restart()
        self.stage = stage
        skipped = self.loader.skipped
        self.loader.close()
        self.loader = self._loader_of(self.stages[stage].needs, self.method.pseudo_masks())
        self.loader.skipped = skipped

    def _progress(self) -> Progress:
        epochs, steps = self.epochs[self.stage], self.loader.steps_per_epoch
        return Progress(
            step=self.step - self.begins[self.stage],
            steps_per_epoch=steps,
            total_steps=len(epochs) * steps,
            stage=self.stage,
        )

    def train_epoch(self, epoch: int, on_step: StepHook | None) -> dict[str, float]:
        """All steps of an epoch, counted from 0; means over its steps."""
        self._reach(epoch)
        step_means, clock, begun = StepMeans(self.process), StepClock(self.process.device), time.monotonic()
        batches = self.loader.epoch(epoch)
        with contextlib.closing(batches):  # type: ignore[type-var]
            for batch in batches:
                self.train_step(batch, step_means)
                clock.step()
                if self.step % CHECK_EVERY == 0:
                    step_means.check(epoch=epoch + 1)
                if on_step is not None:
                    on_step(self.step, self.total_steps)
        step_ms = clock.mean_ms()
        step_means.check(epoch=epoch + 1)
        if self.config.optim.batch_norm == "device":
            self.process.average_(statistics_of(self.weights()))
        self.networks.check(step=self.step - 1, epoch=epoch + 1)
        skipped = self.process.sum_(torch.tensor(float(self.loader.skipped), device=self.process.device))
        return {
            **step_means.means(),
            **self.latest,
            **self.networks.scaling.of_epoch(),
            "train/skipped_images": float(skipped),
            "time/epoch_s": time.monotonic() - begun,
            "time/step_ms": step_ms,
        }

    def train_step(self, batch: SemiBatch, step_means: StepMeans) -> None:
        """Forward, losses, backward, optimiser, teacher."""
        config, progress = self.config, self._progress()
        begin_step(config.precision.compile)
        if self.networks.noisy:
            torch.manual_seed(
                int(generator(config.order_seed, Stream.NOISE, self.step, self.process.rank).integers(2**62))
            )
        if len(self.stages) > 1:
            self.latest["train/stage"] = progress.stage
        factors = lr_factors(config.schedule, steps_per_epoch=progress.steps_per_epoch, total=progress.total_steps)
        self.latest["train/lr"] = self.networks.begin_step(factors[progress.step])
        for part in batch.to(self.process.device).parts(config.optim.accumulate):
            with self._autocast():
                output = self.method.losses(self._step(part))
            loss = self._total(output, step_means) / config.optim.accumulate
            self.networks.scaling.backward(loss)
        self.networks.end_step()
        self.method.after_step()
        self.step += 1

    def _step(self, part: SemiBatch) -> Step:
        return Step(
            student=self.networks.wrapped,
            batch=part,
            denominator=self.denominator,
            progress=self._progress(),
            asked=self.asked,
            labelled_loss=self.labelled_loss,
        )

    def _total(self, output: StepOutput, step_means: StepMeans) -> Tensor:
        """The weighted sum of all terms; here, and only here, the inter-pixel loss attaches."""
        terms = dict(output.terms)
        loss = torch.stack([output.weights[name] * term for name, term in terms.items()]).sum()
        metrics = {f"train/{name}": value for name, value in output.metrics.items()}
        if self.config.interpixel.alpha > 0 and output.pairs is not None:
            terms["interpixel"], seen = self.interpixel(output.pairs)
            ramp = self._ramp()
            loss = loss + self.config.interpixel.alpha * ramp * terms["interpixel"]
            metrics |= {f"train/interpixel/{name}": value for name, value in seen.items()}
            self.latest["train/interpixel/ramp"] = ramp
        step_means.watch(terms, step=self.step)
        step_means.add({"train/loss": loss, **{f"train/loss/{name}": term for name, term in terms.items()}, **metrics})
        return loss

    def _ramp(self) -> float:
        """The inter-pixel loss's r(it), within the stage."""
        config, progress = self.config.interpixel, self._progress()
        length = warmup_steps(
            fraction=config.warmup_fraction,
            epochs=config.warmup_epochs,
            steps_per_epoch=progress.steps_per_epoch,
            total_steps=progress.total_steps,
        )
        return gaussian_ramp(progress.step, length=length)

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """All tensors that are not the optimiser's."""
        return {**self.networks.weights(), "method": self.method.state_dict()}

    def load_weights(self, state: dict[str, Any]) -> None:
        """Load what :meth:`weights` gave."""
        self.networks.load_weights(state)
        self.method.load_state_dict(state["method"])

    def identity(self) -> str:
        """What a checkpoint must share with this run for the run to go on from it, as JSON."""
        return json.dumps(identity.identity(self.config, split_hash=self.data.split_hash), sort_keys=True)

    def close(self) -> None:
        """End the loader's workers."""
        self.loader.close()

    def _autocast(self) -> torch.autocast:
        return autocast(self.process.device.type, self.config.precision.amp)
