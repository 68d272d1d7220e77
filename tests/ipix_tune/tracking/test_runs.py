import contextlib
import os
import socket
import subprocess
import sys
import threading

import pytest
import wandb

from analysis.ingest.wandb_files import read_folder
from ipix_tune.cli.upload import unsent
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.tracking import client
from ipix_tune.tracking.runs import Tracker
from tests.ipix_tune.studies import base
from trainers.common.errors import UserError


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
    tracker.finish("t0003", state="stopped", epochs=1, retries=2, score=4.0)
    tracker.close()
    (run,), _ = read_folder(tmp_path / "wandb")
    assert (run.run_id, run.group, run.job_type) == (f"{study.name}-t0003", study.name, "search")
    assert {name: run.summary[name] for name in ("state", "retries", "objective")} == {
        "state": "stopped",
        "retries": 2,
        "objective": 4.0,
    }


def test_a_run_that_ended_leaves_nothing_in_the_tracker_and_no_list_of_packages_on_disk(tmp_path, study):
    tracker = Tracker(tmp_path, study, FACTS)
    tracker.start("t0003", values={}, trainer={"seed": 0})
    tracker.log("t0003", epoch=1, metrics={"val/miou": 1.0})
    tracker.finish("t0003", state="stopped", epochs=1)
    assert (tracker._runs, tracker._configs, tracker._seen) == ({}, {}, {})
    tracker.close()
    assert not list(tmp_path.rglob("requirements.txt"))


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


def test_a_study_whose_storage_is_away_is_logged_once_it_is_back_and_not_beside_it(tmp_path, study):
    folder, away = tmp_path / "voc", tmp_path / "away"
    folder.mkdir()
    tracker = Tracker(folder, study, FACTS)
    folder.rename(away)
    back = threading.Timer(0.7, lambda: away.rename(folder))
    back.start()
    tracker.start("t0000", values={}, trainer={})
    back.join()
    tracker.log("t0000", epoch=1, metrics={"val/miou": 1.0})
    tracker.finish("t0000", state="complete", epochs=1)
    tracker.close()
    (run,), _ = read_folder(folder / "wandb")
    assert run.history[1]["val/miou"] == 1.0
    assert tracker.failures == 0


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


@pytest.fixture(params=["refuses", "hangs", "breaks"])
def no_server(request, monkeypatch):
    """An address at which no W&B server answers properly."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        if request.param == "refuses":
            listening.close()
        elif request.param == "breaks":
            threading.Thread(target=say_502, args=(listening,), daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
        monkeypatch.setattr(client, "ANSWER_S", 1.0)
        wandb.teardown()
        yield
    wandb.teardown()


def say_502(listening):
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            connection.close()


def test_without_a_server_the_runs_of_an_online_study_are_on_disk_and_can_be_sent_later(
    tmp_path, study, no_server, monkeypatch, caplog
):
    monkeypatch.setenv("WANDB_MODE", "online")
    tracker = Tracker(tmp_path, study, FACTS)
    for key in ("t0000", "t0001"):
        tracker.start(key, values={}, trainer={"seed": 0})
        tracker.log(key, epoch=1, metrics={"val/miou": 1.0})
    tracker.finish("t0000", state="complete", epochs=1)
    tracker.close()
    assert tracker.unsent
    assert tracker.failures == 0
    assert [record.message for record in caplog.records if "to disk" in record.message or "only" in record.message]
    runs, _ = read_folder(tmp_path / "wandb")
    assert sorted((run.summary["state"], run.history[1]["val/miou"]) for run in runs) == [
        ("complete", 1.0),
        ("interrupted", 1.0),
    ]
    assert len(unsent(tmp_path)) == 2


def test_a_run_that_was_sent_is_not_sent_again(tmp_path):
    for name in ("offline-run-20260101_000000-a", "run-20260101_000001-b"):
        (tmp_path / "wandb" / name).mkdir(parents=True)
        (tmp_path / "wandb" / name / f"run-{name[-1]}.wandb").touch()
    (tmp_path / "wandb/run-20260101_000001-b/run-b.wandb.synced").touch()
    assert [path.name for path in unsent(tmp_path)] == ["offline-run-20260101_000000-a"]


def test_sending_without_a_server_says_that_nothing_is_lost(tmp_path, study, no_server):
    tracker = Tracker(tmp_path, study, FACTS)
    tracker.start("t0000", values={}, trainer={"seed": 0})
    tracker.finish("t0000", state="complete", epochs=1)
    tracker.close()
    command = [sys.executable, "-m", "ipix_tune.cli.main", "wandb-sync", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "nothing is lost" in done.stderr
    assert len(unsent(tmp_path)) == 1


def test_sending_what_is_no_studys_folder_says_so(tmp_path):
    with pytest.raises(UserError, match="no W&B runs"):
        unsent(tmp_path)


def test_a_run_whose_labelled_images_are_drawn_anew_is_logged_with_its_own_split(tmp_path, study):
    tracker = Tracker(tmp_path, study, {**FACTS, "origin": {"split_hash": "first", "world_size": 1}})
    for key, split in (("c0000", "first"), ("c0001", "second")):
        tracker.start(key, values={}, trainer={"seed": 0})
        tracker.split(key, split)
        tracker.log(key, epoch=1, metrics={"val/miou": 1.0})
        tracker.finish(key, state="complete", epochs=1)
    tracker.close()
    runs, _ = read_folder(tmp_path / "wandb")
    assert {run.run_id[-5:]: run.config["origin"] for run in runs} == {
        "c0000": {"split_hash": "first", "world_size": 1},
        "c0001": {"split_hash": "second", "world_size": 1},
    }
