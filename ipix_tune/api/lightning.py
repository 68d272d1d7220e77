"""Lightning inside a study: a callback that reports every epoch of a `lightning.Trainer` to the study.

    def fit(config, report):
        trainer = lightning.Trainer(max_epochs=report.epochs, callbacks=[StudyCallback(report)], logger=False)
        trainer.fit(Model(config), ckpt_path=report.checkpoint)

Needs the package lightning (`pip install 'ipix-tune[lightning]'`).
"""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.callbacks import Callback

from ipix_tune.trainer.function import Reporter
from trainers.common.errors import ConfigError


class StudyCallback(Callback):  # type: ignore[misc]
    """Reports what the module logged of each epoch, with a checkpoint, and ends the training when the study says so.

    Args:
        report: what the study's function was called with.
        names: other names for metrics: the study's, then Lightning's, such as {"val/dice": "val_dice"}.
        save: leave a checkpoint after every epoch, from which a run that was interrupted goes on.
    """

    def __init__(self, report: Reporter, *, names: Mapping[str, str] | None = None, save: bool = True) -> None:
        self._report, self._save = report, save
        self._ours = {theirs: ours for ours, theirs in (names or {}).items()}

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """A score of an earlier epoch must not stand for this one's."""
        if trainer.check_val_every_n_epoch != 1:
            raise ConfigError(
                f"check_val_every_n_epoch = {trainer.check_val_every_n_epoch}: a study needs a score after every "
                "epoch; set it to 1"
            )

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """After the epoch's validation."""
        checkpoint = self._report.run_dir / "last.ckpt" if self._save else None
        if checkpoint is not None:
            trainer.save_checkpoint(checkpoint)  # by all processes
        metrics = {self._ours.get(name, name): float(value) for name, value in trainer.callback_metrics.items()}
        stop = trainer.is_global_zero and self._report(trainer.current_epoch + 1, metrics, checkpoint=checkpoint)
        trainer.should_stop = bool(trainer.strategy.broadcast(stop)) or trainer.should_stop
