"""The callback for Lightning, with Lightning itself where it is installed."""

import pytest

from tests.ipix_tune.trainer.test_function_trainer import run
from trainers.common.errors import ConfigError

lightning = pytest.importorskip("lightning")
torch = pytest.importorskip("torch")

from ipix_tune.api.lightning import StudyCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of those packages
STARTED = []


class Line(lightning.LightningModule):
    def __init__(self, lr):
        super().__init__()
        self.lr, self.layer = lr, torch.nn.Linear(1, 1)

    def training_step(self, batch, index):
        return self.layer(batch).mean()

    def validation_step(self, batch, index):
        self.log("val_dice", 100.0 * self.lr + self.current_epoch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def fit(config, report):
    STARTED.append(report.checkpoint)
    data = torch.utils.data.DataLoader(torch.ones(4, 1), batch_size=2)
    trainer = lightning.Trainer(
        max_epochs=report.epochs,
        callbacks=[StudyCallback(report, names={"val/dice": "val_dice"})],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        check_val_every_n_epoch=config.get("every", 1),
    )
    if config.get("fail_at") and not report.checkpoint:
        trainer.callbacks.append(Killed(config["fail_at"]))
    trainer.fit(Line(config["lr"]), data, data, ckpt_path=report.checkpoint, weights_only=False)


class Killed(lightning.pytorch.callbacks.Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch + 1 == self.epoch:
            raise RuntimeError("killed")


def test_every_epoch_is_reported_under_the_studys_name(tmp_path):
    assert run(tmp_path, fit) == [(1, 50.0), (2, 51.0), (3, 52.0)]


def test_the_training_ends_when_the_study_says_so(tmp_path):
    assert run(tmp_path, fit, stop_after=2) == [(1, 50.0), (2, 51.0)]


def test_a_run_that_was_interrupted_goes_on_from_its_checkpoint(tmp_path):
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path, fit, fail_at=3)
    assert run(tmp_path, fit, fail_at=3) == [(1, 50.0), (2, 51.0), (3, 52.0)]
    assert STARTED[-1] == tmp_path / "last.ckpt"


def test_a_validation_that_leaves_epochs_out_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="check_val_every_n_epoch = 2"):
        run(tmp_path, fit, every=2)
