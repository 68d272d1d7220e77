"""The callback for Hugging Face's Trainer, with the packages themselves where they are installed."""

import pytest

from tests.ipix_tune.trainer.test_function_trainer import run
from trainers.common.errors import ConfigError

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
torch = pytest.importorskip("torch")

from ipix_tune.api.huggingface import StudyCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of those packages
STARTED = []


class Line(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, x, labels):
        out = self.layer(x)
        return {"loss": ((out - labels) ** 2).mean(), "logits": out}


class Killed(transformers.TrainerCallback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, args, state, control, **more):
        if round(state.epoch) + 1 == self.epoch:
            raise RuntimeError("killed")


def fit(config, report):
    STARTED.append(report.checkpoint)
    rows = [{"x": torch.ones(1), "labels": torch.zeros(1)} for _ in range(4)]
    scored = iter(range(100))
    arguments = transformers.TrainingArguments(
        str(report.run_dir / "out"),
        num_train_epochs=report.epochs,
        per_device_train_batch_size=2,
        eval_strategy=config.get("eval_strategy", "epoch"),
        eval_steps=1,
        save_strategy=config.get("save_strategy", "epoch"),
        save_total_limit=1,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        seed=report.seed,
    )
    more = [Killed(config["fail_at"])] if config.get("fail_at") and not report.checkpoint else []
    begun = 2 if report.checkpoint else 0
    trainer = transformers.Trainer(
        Line(),
        arguments,
        train_dataset=rows,
        eval_dataset=rows,
        compute_metrics=lambda found: {"dice": 100 * config["lr"] + begun + next(scored)},
        callbacks=[StudyCallback(report, names={"val/dice": "eval_dice"}), *more],
    )
    trainer.train(resume_from_checkpoint=str(report.checkpoint) if report.checkpoint else None)


@pytest.mark.parametrize("save", ["epoch", "no"])
def test_every_epoch_is_reported_under_the_studys_name(tmp_path, save):
    assert run(tmp_path, fit, save_strategy=save) == [(1, 50.0), (2, 51.0), (3, 52.0)]


def test_the_training_ends_when_the_study_says_so(tmp_path):
    assert run(tmp_path, fit, stop_after=2) == [(1, 50.0), (2, 51.0)]


def test_a_run_that_was_interrupted_goes_on_from_its_checkpoint(tmp_path):
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path, fit, fail_at=3)
    assert run(tmp_path, fit, fail_at=3) == [(1, 50.0), (2, 51.0), (3, 52.0)]
    assert STARTED[-1].name == "checkpoint-4"


def test_an_evaluation_by_steps_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="eval_strategy = steps"):
        run(tmp_path, fit, eval_strategy="steps", save_strategy="no")
