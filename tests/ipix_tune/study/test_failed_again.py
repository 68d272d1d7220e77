"""Trials that failed are offered again under their own keys, and one fault does not end trial after trial."""

import os
import shutil

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipix_tune.search.repeated_error import Alike, cause_of
from ipix_tune.study.failed_trials import offer_failed
from ipix_tune.trainer.own.trainer import OwnTrainer
from tests.ipix_tune.search.test_trial_store import study, trial_store
from trainers.common.errors import ConfigError, DataError, OutOfMemory, TrainingError
from trainers.config import TrainConfig

RECORDS = ("journal", "sqlite")


def record_at(folder, kind):
    return f"sqlite:///{folder}/studies.db" if kind == "sqlite" else kind


def failed(store, *, cause="other", scores=(10.0, 12.0), error="x.png: cannot be decoded"):
    key, values = store.next()
    for epoch, score in enumerate(scores, 1):
        store.report(key, epoch=epoch, score=score)
    store.end(key, state="failed", error=error, cause=cause)
    return key, values


def completed(store, score=20.0):
    key, values = store.next()
    store.report(key, epoch=9, score=score)
    store.end(key, state="complete")
    return key, values


def everything(entry):
    return True


@pytest.mark.parametrize("record", RECORDS)
def test_a_failed_trial_is_offered_again_with_its_key_its_values_and_its_epochs(tmp_path, record):
    config = study(record=record_at(tmp_path, record))
    store = trial_store(tmp_path, config)
    key, values = failed(store)
    completed(store)
    again = trial_store(tmp_path, config)
    assert again.offer_again(everything) == [key]
    assert again.next() == (key, values)
    assert again.entry(key).scores == {1: 10.0, 2: 12.0}
    again.report(key, epoch=9, score=30.0)
    again.end(key, state="complete")
    (entry,) = [one for one in trial_store(tmp_path, config).entries() if one.key == key]
    assert (entry.state, entry.scores[9], entry.error) == ("complete", 30.0, None)


def test_what_is_offered_again_counts_once(tmp_path):
    store = trial_store(tmp_path, total=3)
    key, _ = failed(store)
    completed(store)
    again = trial_store(tmp_path, total=3)
    assert again.remaining == 1
    again.offer_again(everything)
    assert (again.remaining, again.started, again.epochs) == (2, 2, 3)
    assert [again.next()[0] for _ in range(2)] == [key, "t0003"]
    assert again.next() is None
    assert len(again.entries()) == 3


def test_a_driver_that_dies_meanwhile_leaves_it_to_be_taken_up(tmp_path):
    key, values = failed(trial_store(tmp_path))
    trial_store(tmp_path).offer_again(everything)
    assert trial_store(tmp_path).next() == (key, values)


def test_a_trial_that_fails_twice_can_be_offered_twice(tmp_path):
    key, values = failed(trial_store(tmp_path))
    for _ in range(2):
        store = trial_store(tmp_path)
        assert store.offer_again(everything) == [key]
        assert store.next() == (key, values)
        store.end(key, state="failed", error="again", cause="other")
    assert [one.error for one in trial_store(tmp_path).entries()] == ["again"]


def test_trials_that_did_not_fail_are_not_offered(tmp_path):
    store = trial_store(tmp_path)
    completed(store)
    store.next()
    assert trial_store(tmp_path).offer_again(everything) == []


def test_offering_a_trial_again_does_not_change_what_the_sampler_draws_next(tmp_path):
    config, next_values = study(sampler={"name": "random"}, points=[]), []
    for name, offer in (("plain", False), ("again", True)):
        (tmp_path / name).mkdir()
        failed(trial_store(tmp_path / name, config))
        store = trial_store(tmp_path / name, config)
        if offer:
            store.offer_again(everything)
            store.end(store.next()[0], state="failed", error="still", cause="other")
        next_values.append(store.next()[1])
    assert next_values[0] == next_values[1]


def test_the_sampler_is_told_of_the_failure_and_of_the_score(tmp_path):
    failed(trial_store(tmp_path))
    store = trial_store(tmp_path)
    store.offer_again(everything)
    key, _ = store.next()
    store.report(key, epoch=9, score=30.0)
    store.end(key, state="complete")
    states = [trial.state for trial in store._study.trials]
    assert states[0] == optuna.trial.TrialState.FAIL
    assert states[-1] == optuna.trial.TrialState.COMPLETE


@pytest.fixture
def data(folder_of_images):
    return TrainConfig.model_validate(
        {
            "data": {
                "name": "folder",
                "root": str(folder_of_images),
                "num_classes": 2,
                "labelled": "list.txt",
                "crop": 16,
                "batch_size": 1,
                "holdout": {"images": 1},
            },
            "method": {"name": "supervised"},
        }
    )


@pytest.fixture
def folder_of_images(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    for name in "abc":
        (root / f"{name}.png").write_text(name)
    (root / "list.txt").write_text("".join(f"{name}.png {name}.png\n" for name in "abc"))
    return root


def offered(folder, data, **options):
    store = trial_store(folder)
    lines = offer_failed(store, OwnTrainer(), data, **{"resume": True, "retry_failed": False, "lost": True, **options})
    return [entry.key for entry in store.entries() if entry.state == "running"], lines


def failed_by_data(folder, data, **options):
    store = trial_store(folder, data_state=lambda: OwnTrainer().data_state(data))
    return failed(store, **{"cause": "data", **options})[0]


def test_trials_that_failed_by_data_are_offered_when_the_data_have_changed(tmp_path, data, folder_of_images):
    key = failed_by_data(tmp_path, data)
    keys, lines = offered(tmp_path, data)
    assert keys == []
    assert lines == [f"failed before and not run again: {key}; with --retry-failed they are"]
    (folder_of_images / "b.png").write_text("mended")
    keys, lines = offered(tmp_path, data)
    assert keys == [key]
    assert lines == [f"run again, since the data by which they failed have changed: {key}"]


def touched(root):
    for path in root.iterdir():
        os.utime(path, (1, 1))


def copied(root):
    shutil.copytree(root, root.with_name("copy"))
    shutil.rmtree(root)
    root.with_name("copy").rename(root)


@pytest.mark.parametrize("way", [touched, copied])
def test_data_that_were_touched_or_copied_have_not_changed(tmp_path, data, folder_of_images, way):
    failed_by_data(tmp_path, data)
    way(folder_of_images)
    assert offered(tmp_path, data)[0] == []


def test_data_that_were_moved_have_not_changed(folder_of_images, data):
    before = OwnTrainer().data_state(data)
    moved = folder_of_images.rename(folder_of_images.with_name("elsewhere"))
    there = data.model_copy(update={"data": data.data.model_copy(update={"root": str(moved)})})
    assert OwnTrainer().data_state(there) == before
    assert OwnTrainer().data_state(data) == ""


def test_a_file_that_was_changed_with_its_size_and_time_kept_has_changed(tmp_path, data, folder_of_images):
    path = folder_of_images / "b.png"
    key = failed_by_data(tmp_path, data)
    status = path.stat()
    with path.open("r+") as file:
        file.write("B")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert offered(tmp_path, data)[0] == [key]


def test_a_list_that_names_other_files_is_a_change(tmp_path, data, folder_of_images):
    key = failed_by_data(tmp_path, data)
    (folder_of_images / "list.txt").write_text("a.png a.png\nc.png c.png\n")
    assert offered(tmp_path, data)[0] == [key]


@pytest.mark.parametrize("cause", ["memory", "other", None])
def test_other_failures_are_offered_when_asked_for(tmp_path, data, folder_of_images, cause):
    key = failed_by_data(tmp_path, data, cause=cause)
    (folder_of_images / "b.png").write_text("mended")
    assert offered(tmp_path, data)[0] == []
    assert offered(tmp_path, data, retry_failed=True)[0] == [key]


def test_a_lost_run_of_a_confirmation_stays_a_lost_run(tmp_path, data):
    failed_by_data(tmp_path, data, cause="diverged")
    assert offered(tmp_path, data, retry_failed=True, lost=False) == ([], [])
    assert len(offered(tmp_path, data, retry_failed=True)[0]) == 1


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (DataError("x"), "data"),
        (OutOfMemory("x"), "memory"),
        (TrainingError("loss is NaN"), "diverged"),
        (ConfigError("x"), "other"),
        (OSError("x"), "other"),
    ],
)
def test_every_error_has_a_cause(error, cause):
    assert cause_of(error) == cause


def ends(alike, *ends):
    return [alike.ended(state=state, error=error, cause=cause) for state, error, cause in ends]


BAD = ("failed", "a.png: cannot be decoded", "data")


def test_the_same_error_in_a_row_stops_the_study_and_is_named():
    found = ends(Alike(3), BAD, ("failed", "b.png: cannot be decoded", "data"), BAD)
    assert found == [None, None, "3 trials in a row failed with the same error: a.png: cannot be decoded"]


def test_errors_that_differ_in_numbers_only_are_the_same():
    found = ends(Alike(2), *(("failed", f"out of memory: {size} GiB", "memory") for size in (1.5, 20)))
    assert found[1] is not None


@pytest.mark.parametrize(
    "between",
    [
        ("complete", None, None),
        ("stopped", None, None),
        ("failed", "loss is NaN", "diverged"),
        ("failed", "y", "other"),
    ],
)
def test_anything_else_between_begins_a_new_row(between):
    assert ends(Alike(2), BAD, between, BAD) == [None] * 3


MEMORY = ("failed", "CUDA out of memory: 3 GiB", "memory")
RAN = ("complete", None, None)


def test_trials_that_do_not_fit_into_memory_stop_a_study_in_which_none_has():
    assert ends(Alike(3), MEMORY, MEMORY, MEMORY)[-1] is not None


def test_trials_that_do_not_fit_into_memory_stop_no_study_in_which_another_did():
    """What a trial takes depends on its configuration: a search over models or crops has large ones in a row."""
    assert ends(Alike(3), RAN, *[MEMORY] * 9) == [None] * 10
    assert ends(Alike(3, fitted=True), *[MEMORY] * 9) == [None] * 9


@given(errors=st.lists(st.sampled_from([BAD, ("failed", "loss is NaN", "diverged")]), max_size=20))
def test_with_0_a_study_is_never_stopped_and_divergence_never_stops_one(errors):
    assert not any(ends(Alike(0), *errors))
    assert not any(ends(Alike(1), *(one for one in errors if one[2] == "diverged")))
