"""An epoch is saved before it is evaluated: what stops the evaluation does not cost its weights."""

import json
import shutil

import pytest
import torch

from tests.trainers.runs import rows, same_tensors, tensors, tiny
from trainers.common.errors import DataError, OutOfMemory
from trainers.loop.fit import fit

SCHEDULE = {"epochs": 3, "steps_per_epoch": 2}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    fit(config(), folder)
    return folder


def config(**evaluation):
    return tiny(schedule=SCHEDULE, evaluation=evaluation)


def stopped_in_the_evaluation(folder, monkeypatch, *, epoch, error, **evaluation):
    """A run whose evaluation after ``epoch`` fails."""
    from trainers.loop import epoch_scores, evaluate

    calls = []

    def fail_once(*arguments, **named):
        calls.append(1)
        if len(calls) == epoch:
            raise error
        return evaluate.evaluate(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(epoch_scores, "evaluate", fail_once)
        fit(config(**evaluation), folder)


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_run_whose_evaluation_failed_goes_on_with_it_and_trains_no_step_again(unbroken, tmp_path, monkeypatch, epoch):
    with pytest.raises(DataError):
        stopped_in_the_evaluation(tmp_path, monkeypatch, epoch=epoch, error=DataError("a mask"))
    steps = []
    fit(config(), tmp_path, on_step=lambda done, total: steps.append(done))
    assert steps == list(range(2 * epoch + 1, 7))
    assert rows(tmp_path) == rows(unbroken)
    for name in ("last.pt", "best.pt"):
        assert same_tensors(tensors(tmp_path, name), tensors(unbroken, name))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
        MemoryError("Unable to allocate 8. GiB"),
    ],
)
def test_out_of_memory_in_an_evaluation_says_what_makes_an_evaluation_smaller(tmp_path, monkeypatch, error):
    with pytest.raises(OutOfMemory) as caught:
        stopped_in_the_evaluation(tmp_path, monkeypatch, epoch=1, error=error)
    said = str(caught.value)
    assert said.startswith(f"out of memory in the evaluation after epoch 1: {error}")
    assert "evaluation.mode: sliding" in said
    assert "weights are saved" in said
    assert "batch_size" not in said
    assert "accumulate" not in said


def test_windows_that_are_too_large_are_not_advised_to_be_windows(tmp_path, monkeypatch):
    error = torch.OutOfMemoryError("CUDA out of memory.")
    with pytest.raises(OutOfMemory, match=r"evaluation\.scale") as caught:
        stopped_in_the_evaluation(tmp_path, monkeypatch, epoch=1, error=error, mode="sliding")
    assert "evaluation.mode: sliding" not in str(caught.value)


@pytest.fixture(scope="module")
def in_windows(tmp_path_factory):
    """The same run, evaluated in windows from its beginning."""
    folder = tmp_path_factory.mktemp("windows")
    fit(config(mode="sliding"), folder)
    return folder


def scores(folder):
    """The score of every epoch that has one."""
    return {row["epoch"]: row["val/miou"] for row in rows(folder) if "val/miou" in row}


@pytest.mark.parametrize("epoch", [2, 3])
def test_a_run_that_goes_on_with_another_evaluation_has_scores_of_that_one_only(
    unbroken, in_windows, tmp_path, monkeypatch, caplog, epoch
):
    with pytest.raises(OutOfMemory):
        stopped_in_the_evaluation(
            tmp_path, monkeypatch, epoch=epoch, error=torch.OutOfMemoryError("CUDA out of memory.")
        )
    before = scores(tmp_path)
    steps = []
    fit(config(mode="sliding"), tmp_path, on_step=lambda done, total: steps.append(done))
    assert steps == list(range(2 * epoch + 1, 7))
    assert "evaluation.mode: whole there, sliding here" in caplog.text
    assert same_tensors(tensors(tmp_path), tensors(unbroken))
    meant, now, best = scores(in_windows), scores(tmp_path), max(before, key=before.get)
    assert set(now) == {best, *range(epoch, 4)}
    assert now == {one: meant[one] for one in now}
    state = torch.load(tmp_path / "checkpoints" / "best.pt", weights_only=True)
    assert tuple(state["epoch"]) == max((now[one], one) for one in now)
    assert json.loads(state["identity"])["config"]["evaluation"]["mode"] == "sliding"


def test_a_run_that_ended_is_scored_anew_with_its_best_and_its_last_weights(unbroken, in_windows, tmp_path):
    shutil.copytree(unbroken, tmp_path / "run")
    fit(config(mode="sliding"), tmp_path / "run")
    meant, before = scores(in_windows), scores(unbroken)
    kept = {max(before, key=before.get), 3}
    assert scores(tmp_path / "run") == {epoch: meant[epoch] for epoch in kept}
    once_more = rows(tmp_path / "run")
    fit(config(mode="sliding"), tmp_path / "run")
    assert rows(tmp_path / "run") == once_more


def test_without_the_best_weights_the_best_begins_anew(unbroken, in_windows, tmp_path):
    shutil.copytree(unbroken, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "best.pt").unlink()
    result = fit(config(mode="sliding"), tmp_path / "run")
    assert scores(tmp_path / "run") == {3: scores(in_windows)[3]}
    assert result.best_epoch == 3


def test_a_checkpoint_of_a_scored_epoch_holds_its_record(unbroken):
    state = torch.load(unbroken / "checkpoints" / "last.pt", weights_only=True)
    assert state["unscored"] is None
    assert [record["epoch"] for record in state["records"]] == [1, 2, 3]
    assert json.loads(state["identity"])["config"]["evaluation"]["mode"] == "whole"


def test_another_error_is_not_taken_for_out_of_memory(tmp_path, monkeypatch):
    with pytest.raises(RuntimeError, match="shapes"):
        stopped_in_the_evaluation(tmp_path, monkeypatch, epoch=1, error=RuntimeError("shapes differ"))
