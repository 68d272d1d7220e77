import errno

import pytest

from ipix_tune.storage.study_folder import remove_checkpoints
from ipix_tune.trainer import told_epochs
from ipix_tune.trainer.choose import trainer_of
from ipix_tune.trainer.function import hand_over, imported
from ipix_tune.trainer.interface import Epoch
from ipix_tune.trainer.told_epochs import ToldEpochs
from trainers.common.atomic import append_whole
from trainers.common.errors import ConfigError, OutputError
from trainers.interface.epoch_record import read_records

CALLS = []


def fit(config, report):
    """Reports a score that depends on lr and seed; goes on from its checkpoint."""
    CALLS.append(report.checkpoint)
    done = int(report.checkpoint.read_text()) if report.checkpoint else 0
    for epoch in range(done + 1, report.epochs + 1):
        if config.get("fail_at") == epoch and not done:
            raise RuntimeError("killed")
        state = report.run_dir / "state"
        state.write_text(str(epoch))
        if report(epoch, {"val/dice": 100 * config["lr"] + epoch + report.seed / 10}, checkpoint=state):
            return


def lazy(config, report):
    report(1, {"val/dice": 1.0})


def run(tmp_path, function=fit, *, seed=0, stop_after=None, **config):
    section = {"function": f"{function.__module__}:{function.__name__}", "epochs": 3, "score": "val/dice"}
    section["config"] = {"lr": 0.5} | config
    trainer, told = trainer_of(section), []
    found = trainer.validated(trainer.data_of(section, {}, {}), source="t", lines={})
    found = trainer.with_seed(found, seed, first=0)

    def report(epoch):
        told.append((epoch.epoch, epoch.metrics["val/dice"]))
        return stop_after is None or epoch.epoch < stop_after

    trainer.run(found, tmp_path, report)
    return told


def test_a_function_is_called_with_its_settings_and_reports_every_epoch(tmp_path):
    assert run(tmp_path, seed=3) == [(1, 51.3), (2, 52.3), (3, 53.3)]


def test_a_function_is_told_to_stop(tmp_path):
    assert run(tmp_path, stop_after=2) == [(1, 51.0), (2, 52.0)]


def test_a_run_that_is_taken_up_gets_its_last_checkpoint(tmp_path):
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path, fail_at=3)
    assert run(tmp_path, fail_at=3) == [(1, 51.0), (2, 52.0), (3, 53.0)]
    assert CALLS[-1] == tmp_path / "state"


def test_a_function_that_returns_too_early_is_named_with_the_length(tmp_path):
    with pytest.raises(ConfigError, match=r"returned after epoch 1 of 3 \(trainer\.epochs\)"):
        run(tmp_path, lazy)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_colon", "write module:function"),
        ("no_such_module_here:fit", "cannot be imported here"),
        (f"{__name__}:fitt", 'has no function fitt; did you mean "fit"'),
    ],
)
def test_a_function_that_is_not_there_is_refused_by_name(name, said):
    with pytest.raises(ConfigError, match=said):
        imported(name)


def test_a_function_of_a_notebook_is_handed_over_and_needs_no_import(tmp_path):
    def inner(config, report):
        for epoch in range(1, report.epochs + 1):
            report(epoch, {"val/dice": 7.0})

    section = {"function": hand_over(inner), "epochs": 2, "score": "val/dice", "config": {}}
    trainer, told = trainer_of(section), []
    config = trainer.validated(trainer.data_of(section, {}, {}), source="t", lines={})
    trainer.run(config, tmp_path, lambda epoch: told.append(epoch.epoch) or True)
    assert told == [1, 2]


def test_checkpoints_that_a_function_told_of_are_deleted_and_nothing_else(tmp_path):
    folder = tmp_path / "trials" / "t0000"
    run(folder)
    (folder / "notes.txt").write_text("kept")
    remove_checkpoints(tmp_path, of={"t0000"})
    assert not (folder / "state").exists()
    assert {"metrics.jsonl", "notes.txt"} <= {path.name for path in folder.iterdir()}


def test_an_epoch_of_a_function_is_written_down_once_the_disk_has_room_again(tmp_path, monkeypatch):
    left = [1]

    def full_at_first(path, line):
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        append_whole(path, line)

    monkeypatch.setattr(told_epochs, "append_whole", full_at_first)
    told = []
    ToldEpochs(tmp_path, lambda epoch: told.append(epoch.epoch) or True).tell(Epoch(epoch=1, metrics={"val/dice": 0.5}))
    assert told == [1]
    assert [record.epoch for record in read_records(tmp_path / "metrics.jsonl")] == [1]


def test_an_epoch_that_cannot_be_written_down_is_told_to_nobody_and_names_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(told_epochs, "WAIT_S", 0)
    told = []
    away = ToldEpochs(tmp_path / "away", lambda epoch: told.append(epoch) or True)
    with pytest.raises(OutputError, match=r"away/metrics.jsonl: cannot be written: No such file or directory"):
        away.tell(Epoch(epoch=1, metrics={"val/dice": 0.5}))
    assert told == []
