"""Hugging Face's Trainer inside a study: a callback that reports every epoch of a `transformers.Trainer` to the study.

    def fit(config, report):
        arguments = TrainingArguments(
            str(report.run_dir), num_train_epochs=report.epochs, seed=report.seed, learning_rate=config["lr"],
            eval_strategy="epoch", save_strategy="epoch", save_total_limit=1, report_to="none",
        )
        trainer = Trainer(model, arguments, callbacks=[StudyCallback(report)], ...)
        trainer.train(resume_from_checkpoint=report.checkpoint and str(report.checkpoint))

Needs the packages transformers and accelerate (`pip install 'ipix-tune[huggingface]'`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.trainer_callback import TrainerCallback

from ipix_tune.trainer.function import Reporter
from trainers.common.errors import ConfigError


class StudyCallback(TrainerCallback):  # type: ignore[misc]
    """Reports each epoch's evaluation, with its checkpoint, and ends the training when the study says so.

    Args:
        report: what the study's function was called with.
        names: other names for metrics: the study's, then the Trainer's, such as {"val/dice": "eval_dice"}.
    """

    def __init__(self, report: Reporter, *, names: Mapping[str, str] | None = None) -> None:
        self._report, self._metrics = report, dict[str, float]()
        self._ours = {theirs: ours for ours, theirs in (names or {}).items()}

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Epochs are what a study counts in."""
        for name, allowed in (("eval_strategy", ("epoch",)), ("save_strategy", ("epoch", "no"))):
            if (given := getattr(args, name).value) not in allowed:
                raise ConfigError(f"{name} = {given}: with a study it is {' or '.join(allowed)}")

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **more: Any) -> None:
        """The epoch's checkpoint is saved behind its evaluation, and reported with it."""
        self._metrics = {self._ours.get(name, name): value for name, value in metrics.items()}
        if args.save_strategy.value == "no":
            self._tell(state, control, None)

    def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """See :meth:`on_evaluate`."""
        if self._metrics:
            self._tell(state, control, Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def _tell(self, state: Any, control: Any, checkpoint: Path | None) -> None:
        """On every worker of a trial, since none but the first learns otherwise that the training ends."""
        metrics, self._metrics = self._metrics, {}
        if self._report(round(state.epoch), metrics, checkpoint=checkpoint):
            control.should_training_stop = True
