import os

import pytest

from analysis.logs.offline import read_folder
from ipix_tune.config import StudyConfig
from ipix_tune.tracking import Tracker
from tests.ipix_tune.studies import base


@pytest.fixture
def study(request):
    """A study with a name of its own: the client refuses a run id that its process has used before."""
    return StudyConfig.model_validate({**base(), "name": request.node.name[:60].replace("[", "-").replace("]", "")})


FACTS = {"space": {}, "scheduler": {}, "classes": [], "origin": {}}


def test_every_epoch_of_an_open_run_is_on_disk_soon(tmp_path, study):
    import time

    tracker = Tracker(tmp_path, study, FACTS)
    tracker.start("t0003", values={"a": 1}, trainer={"seed": 0})
    for epoch in (1, 2, 3):
        tracker.log("t0003", epoch=epoch, metrics={"val/miou": float(epoch)})
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        runs, _ = read_folder(tmp_path / "wandb")
        if runs and len(runs[0].history) == 3:
            break
        time.sleep(0.1)
    (run,) = runs
    assert {epoch: row["val/miou"] for epoch, row in run.history.items()} == {1: 1.0, 2: 2.0, 3: 3.0}
    tracker.finish("t0003", state="complete", epochs=3)


def test_the_run_has_a_stable_id_its_group_and_its_phase(tmp_path, study):
    tracker = Tracker(tmp_path, study, FACTS)
    tracker.start("t0003", values={}, trainer={"seed": 0})
    tracker.finish("t0003", state="stopped", epochs=1, retries=2, objective=4.0)
    tracker.close()
    (run,), _ = read_folder(tmp_path / "wandb")
    assert (run.run_id, run.group, run.job_type) == (f"{study.name}-t0003", study.name, "search")
    assert {name: run.summary[name] for name in ("state", "retries", "objective")} == {
        "state": "stopped",
        "retries": 2,
        "objective": 4.0,
    }


def test_an_epoch_that_is_logged_twice_is_written_once(tmp_path, study):
    tracker = Tracker(tmp_path, study, FACTS)
    tracker.start("t0000", values={}, trainer={"seed": 0})
    tracker.log("t0000", epoch=1, metrics={"val/miou": 1.0})
    tracker.log("t0000", epoch=1, metrics={"val/miou": 9.0})
    tracker.finish("t0000", state="complete", epochs=1)
    tracker.close()
    (run,), _ = read_folder(tmp_path / "wandb")
    assert run.history[1]["val/miou"] == 1.0


def test_a_failing_wandb_is_counted_said_once_and_raises_nothing(tmp_path, study, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("a file where the folder should be")
    tracker = Tracker(blocked, study, FACTS)
    for number in range(2):
        tracker.start(f"t000{number}", values={}, trainer={"seed": object()})
        tracker.log(f"t000{number}", epoch=1, metrics={"val/miou": 1.0})
        tracker.finish(f"t000{number}", state="complete", epochs=1)
    if os.getuid() == 0 and tracker.failures == 0:
        pytest.fail("W&B did not fail, so nothing was tested")
    assert sum("W&B failed" in record.message for record in caplog.records) == 1


def test_the_environment_variable_takes_precedence_over_the_study_file(tmp_path, study, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    tracker = Tracker(tmp_path, study, FACTS)
    tracker.start("t0000", values={}, trainer={})
    assert tracker.mode == "disabled"
    assert not (tmp_path / "wandb").exists()


def test_after_close_every_end_is_on_disk_and_open_runs_are_interrupted(tmp_path, study):
    tracker = Tracker(tmp_path, study, FACTS)
    for key in ("t0000", "t0001", "t0002", "t0003"):
        tracker.start(key, values={}, trainer={"seed": 0})
        tracker.log(key, epoch=1, metrics={"val/miou": 1.0})
    for key in ("t0000", "t0001", "t0002"):
        tracker.finish(key, state="complete", epochs=1)
    tracker.close()
    runs, _ = read_folder(tmp_path / "wandb")
    assert sorted(run.summary["state"] for run in runs) == ["complete"] * 3 + ["interrupted"]
    assert all(1 in run.history for run in runs)
