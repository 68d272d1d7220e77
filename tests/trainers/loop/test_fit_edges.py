"""Runs that end early, start again, or share a process with others."""

import errno
import multiprocessing
import shutil
import threading
from pathlib import Path

import pytest
import torch

from tests.trainers.runs import rows, same_tensors, tensors, tiny
from trainers.common.errors import OutputError, TrainingError
from trainers.config import TrainConfig
from trainers.data.lists import read_split
from trainers.data.open import open_data
from trainers.interface.epoch_record import Decision
from trainers.loop import checkpoint_files
from trainers.loop import fit as loop
from trainers.loop import run as run_module
from trainers.loop.fit import fit


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A finished supervised run."""
    folder = tmp_path_factory.mktemp("short")
    fit(tiny_supervised(), folder)
    return folder


def tiny_supervised(**sections):
    """The small config with the supervised method, two epochs of two steps, and values laid over its sections."""
    data = tiny(schedule={"epochs": 2, "steps_per_epoch": 2}).model_dump(mode="json")
    data["method"] = {"name": "supervised"}
    for name, values in sections.items():
        data[name] = data[name] | values
    return TrainConfig.model_validate(data)


def stop_after(epoch):
    return lambda record: Decision.STOP if record.epoch == epoch else Decision.CONTINUE


def test_resuming_a_finished_run_trains_no_more_and_gives_the_same_result(short):
    steps, before = [], rows(short)
    result = fit(tiny_supervised(), short, on_step=lambda done, total: steps.append(done))
    assert steps == []
    assert [record.epoch for record in result.records] == [1, 2]
    assert rows(short) == before


def test_a_finished_search_run_gets_the_final_scores_that_it_is_asked_for_later(tmp_path):
    fit(tiny_supervised(), tmp_path / "later")
    fit(tiny_supervised(evaluation={"final": True}), tmp_path / "at once")
    result = fit(tiny_supervised(evaluation={"final": True}), tmp_path / "later")
    assert "final/best/miou" in result.records[-1].metrics
    assert rows(tmp_path / "later") == rows(tmp_path / "at once")
    assert same_tensors(tensors(tmp_path / "later"), tensors(tmp_path / "at once"))


@pytest.mark.parametrize("kept", ["none", "those of another epoch"])
def test_weights_that_are_not_of_the_best_epoch_are_not_scored_as_the_best(short, tmp_path, kept):
    shutil.copytree(short, tmp_path, dirs_exist_ok=True)
    best = tmp_path / "checkpoints" / "best.pt"
    if kept == "none":
        best.unlink()
    else:
        checkpoint_files.save(best, {**checkpoint_files.load(best), "epoch": (0.0, 99)})
    result = fit(tiny_supervised(evaluation={"final": True}), tmp_path)
    assert "final/last/miou" in result.records[-1].metrics
    assert "final/best/miou" not in result.records[-1].metrics


@pytest.mark.slow
def test_loader_workers_do_not_change_the_curve_or_the_weights(short, tmp_path):
    fit(tiny_supervised(data={"loader_workers": 2}), tmp_path)
    assert rows(tmp_path) == rows(short)
    assert same_tensors(tensors(tmp_path), tensors(short))


def test_a_callback_that_raises_leaves_no_loader_worker_behind(tmp_path):
    def broken(record):
        assert multiprocessing.active_children()
        raise ValueError("the watcher broke")

    with pytest.raises(ValueError, match="the watcher broke") as caught:
        fit(tiny_supervised(data={"loader_workers": 1}), tmp_path, callbacks=[broken])
    assert caught.tb is not None
    assert not multiprocessing.active_children()


def test_a_run_started_again_without_resume_forgets_the_earlier_one(short, tmp_path):
    fit(tiny_supervised(optim={"lr": 0.01}), tmp_path)
    fit(tiny_supervised(), tmp_path, resume=False, callbacks=[stop_after(1)])
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best.pt", "last.pt"]
    fit(tiny_supervised(), tmp_path)
    assert rows(tmp_path) == rows(short)


def test_a_gradient_that_is_not_finite_never_reaches_a_checkpoint(tmp_path, monkeypatch):
    def poison(model, norm):
        next(model.parameters()).grad[0] = torch.nan

    monkeypatch.setattr("trainers.loop.precision.clip", poison)
    config = tiny_supervised(schedule={"epochs": 2, "steps_per_epoch": 1})
    with pytest.raises(TrainingError, match=r"weights are NaN or infinite after step 0 \(epoch 1\)"):
        fit(config, tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_several_runs_in_one_process_do_not_touch_each_other_or_the_random_state(short, tmp_path):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    fit(tiny_supervised(optim={"lr": 0.01}), tmp_path / "other")
    fit(tiny_supervised(), tmp_path / "same")
    assert rows(tmp_path / "same") == rows(short)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_leaves_the_warn_only_switch_and_the_threads_as_they_were(tmp_path):
    threads = torch.get_num_threads()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        fit(tiny_supervised(schedule={"epochs": 1, "steps_per_epoch": 1}), tmp_path)
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.get_num_threads() == threads


def test_a_run_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(OutputError, match=r"run: cannot be written: .*; mend that, then resume"):
        fit(tiny_supervised(), tmp_path / "run")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_metrics_on_a_full_disk_are_told_as_such(tmp_path):
    def full(record):
        (tmp_path / "metrics.jsonl").unlink()
        (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
        return Decision.CONTINUE

    with pytest.raises(OutputError, match=r"metrics.jsonl: cannot be written: No space left on device"):
        fit(tiny_supervised(checkpoint={"wait_s": 0.1}), tmp_path, callbacks=[full])


def test_a_disk_that_is_full_when_a_run_begins_is_waited_for(short, tmp_path, monkeypatch):
    replace, left = loop._replace, [2]

    def full_at_first(path, text):
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(path, text)

    monkeypatch.setattr(loop, "_replace", full_at_first)
    fit(tiny_supervised(checkpoint={"wait_s": 20}), tmp_path)
    assert left == [0]
    assert rows(tmp_path) == rows(short)


def test_a_disk_that_stays_full_when_a_run_begins_is_named_after_the_wait(tmp_path, monkeypatch):
    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(loop, "_replace", full)
    with pytest.raises(OutputError, match="cannot be written: No space left on device; mend that, then resume"):
        fit(tiny_supervised(checkpoint={"wait_s": 0.1}), tmp_path)


def test_a_storage_that_goes_away_for_a_moment_costs_a_run_nothing(short, tmp_path):
    folder, away, back = tmp_path / "run", tmp_path / "away", threading.Timer(1.5, lambda: away.rename(folder))

    def vanish(record):
        if record.epoch == 1:
            folder.rename(away)
            back.start()
        return Decision.CONTINUE

    folder.mkdir()
    fit(tiny_supervised(), folder, callbacks=[vanish])
    assert rows(folder) == rows(short)
    assert same_tensors(tensors(folder), tensors(short))


def test_a_storage_that_is_away_when_a_run_begins_is_waited_for_and_its_folder_not_made_anew(
    short, tmp_path, monkeypatch
):
    folder, away = tmp_path / "run", tmp_path / "away"
    back, open_data = threading.Timer(1.5, lambda: away.rename(folder)), run_module.open_data

    def vanish(*given, **named):
        folder.rename(away)
        back.start()
        return open_data(*given, **named)

    folder.mkdir()
    (folder / "of-an-earlier-start").touch()
    monkeypatch.setattr(run_module, "open_data", vanish)
    fit(tiny_supervised(), folder)
    back.join()
    assert (folder / "of-an-earlier-start").exists()
    assert rows(folder) == rows(short)


def test_the_lists_that_a_run_drew_are_left_in_its_folder_and_read_again_as_they_were(tmp_path):
    config = tiny_supervised(data={"draw": {"labelled": 9}, "holdout": {"images": 3, "source": "unlabelled"}})
    fit(config, tmp_path, callbacks=[stop_after(1)])
    drawn, layout = open_data(config.data, final=False), config.data.layout()
    for name, items in (("labelled", drawn.labelled), ("holdout", drawn.holdout)):
        again = read_split(tmp_path / f"splits/{name}.txt", layout, labelled=True)
        assert [(item.image, item.mask) for item in again] == [(item.image, item.mask) for item in items]
