"""`ipix-tune train` logs to W&B as a trial does, to disk unless asked otherwise."""

import json

import pytest

from analysis.ingest.wandb_files import read_folder
from ipix_tune.cli.exit_codes import run as command_line
from ipix_tune.cli.main import app
from ipix_tune.config.study_config import LoggingConfig
from ipix_tune.tracking import final_run as final
from ipix_tune.tracking.pictures import KEY
from tests.trainers.runs import tiny
from trainers.common.errors import TrainingError
from trainers.common.yaml_file import dump
from trainers.interface.epoch_record import EpochRecord, read_records


@pytest.fixture
def train(tmp_path, monkeypatch, capsys):
    """Trains in the test's folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def called(*options, epochs=2):
        config = tiny(schedule={"epochs": epochs, "steps_per_epoch": 1})
        (tmp_path / "best.yaml").write_text(dump(config.model_copy(update={"provenance": {"study": "digits"}})))
        with pytest.raises(SystemExit) as caught:
            command_line(app, args=["train", "best.yaml", "--run-dir", "run", *options], prog_name="ipix-tune")
        printed = capsys.readouterr()
        return caught.value.code, printed.out, printed.err

    return called


def test_a_final_training_is_logged_to_disk_with_config_curves_end_and_where_asked_its_weights(train, tmp_path):
    code, out, _ = train("--wandb-weights")
    assert code == 0
    assert "to a W&B server: ipix-tune wandb-sync run" in out
    (logged,), faults = read_folder(tmp_path / "run")
    assert faults == []
    assert logged.run_id == (tmp_path / "run/wandb.id").read_text().strip()
    assert (logged.job_type, logged.group) == ("final", "best")
    assert logged.config["trainer"]["method"]["name"] == "unimatch"
    assert logged.config["provenance"] == {"study": "digits"}
    records = read_records(tmp_path / "run/metrics.jsonl")
    assert {epoch: row["val/miou"] for epoch, row in logged.history.items()} == {
        one.epoch: one.metrics["val/miou"] for one in records
    }
    assert logged.config["origin"]["split_hash"] == records[0].split_hash
    assert logged.summary["state"] == "complete"
    assert logged.summary["objective"] == records[-1].metrics["val/miou"]
    named = {name.removeprefix(f"{KEY}/"): value for name, value in logged.history[2].items()}
    assert named["count"] == 4
    files = b"".join(path.read_bytes() for path in (tmp_path / "run/wandb").glob("offline-run-*/*.wandb"))
    assert b"last.pt" in files
    assert (tmp_path / "run/README.md").is_file()


def test_disabled_logs_nothing_and_a_wrong_mode_is_refused_before_training(train, tmp_path, monkeypatch):
    code, _, err = train("--wandb", "offlne")
    assert code == 2
    assert "offline" in err
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert train(epochs=1)[0] == 0
    assert not (tmp_path / "run/wandb").exists()
    monkeypatch.setenv("WANDB_MODE", "of")
    assert train("--resume")[0] == 2


def record(epoch, value=1.0):
    metrics = {"train/loss": value, "val/miou": value, "time/epoch_s": 1.0}
    return EpochRecord(epoch=epoch, step=epoch, metrics=metrics, checkpoint=None, split_hash="abc")


def trains(folder, error):
    """One epoch, and then what ends it."""
    with final.FinalRun(folder, tiny(), LoggingConfig(), group="x") as run:
        run.epoch(record(1))
        raise error


def test_a_training_that_goes_on_continues_its_run_and_logs_each_epoch_once(tmp_path):
    folder, offline = tmp_path / "run", LoggingConfig()
    folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        trains(folder, KeyboardInterrupt())
    with final.FinalRun(folder, tiny(), offline, group="x") as run:
        for epoch in (1, 2):  # a resumed run gives earlier epochs again
            run.epoch(record(epoch, value=float(epoch)))
    (logged,), _ = read_folder(folder)
    assert sorted(logged.history) == [1, 2]
    assert logged.summary["state"] == "complete"
    assert len(list((folder / "wandb").glob("offline-run-*"))) == 2


def test_a_training_that_fails_is_logged_as_failed_with_its_reason(tmp_path):
    with pytest.raises(TrainingError):
        trains(tmp_path, TrainingError("the loss is NaN"))
    (logged,), _ = read_folder(tmp_path)
    assert (logged.summary["state"], logged.summary["error"]) == ("failed", "the loss is NaN")


def test_what_goes_wrong_in_wandb_does_not_reach_the_training(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(final, "client_settings", lambda: json.loads("no JSON"))
    with final.FinalRun(tmp_path, tiny(), LoggingConfig(), group="x") as run:
        run.epoch(record(1))
        run.epoch(record(2))
    assert caplog.text.count("W&B failed, the training goes on without it") == 1
