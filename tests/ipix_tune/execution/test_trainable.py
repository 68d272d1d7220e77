import errno
import threading
import weakref

import pytest
import torch
from ray.tune.execution.tune_controller import _get_max_pending_trials
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.search_generator import SearchGenerator

from ipix_tune.config.search_space import SearchSpace
from ipix_tune.execution.trainable import _in_memory, _say, _train, in_actor, trial_config
from ipix_tune.search.ray_searcher import TrialStoreSearcher
from ipix_tune.search.trial_store import TrialStore
from ipix_tune.trainer.resources import ResourcesConfig
from tests.ipix_tune.search.test_trial_store import study
from tests.ipix_tune.studies import base, config_of
from trainers.common.errors import ConfigError, DataError, OutOfMemory, OutputError
from trainers.loop.run import Run


def config(folder, *, metric="val/miou"):
    trainer = config_of(schedule={"epochs": 2, "steps_per_epoch": 2}).model_dump(mode="json")
    return trial_config("t0000", trainer=trainer, run_dir=folder, metric=metric, resources=ResourcesConfig())


def test_every_epoch_is_sent_with_its_score(tmp_path):
    sent = []
    _train(config(tmp_path), sent.append)
    assert [row["epoch"] for row in sent] == [1, 2]
    assert [row["objective"] for row in sent] == [row["metrics"]["val/miou"] for row in sent]


def test_a_trial_that_is_taken_up_sends_its_earlier_epochs_again(tmp_path):
    first, again = [], []
    _train(config(tmp_path), first.append)
    _train(config(tmp_path), again.append)
    assert again == first


def test_an_objective_that_the_method_never_reports_is_said_with_what_there_is(tmp_path):
    with pytest.raises(ConfigError, match=r"val/teacher/miou has no value.*there are .*val/miou"):
        _train(config(tmp_path, metric="val/teacher/miou"), lambda row: None)


def test_a_users_mistake_is_the_trials_last_word_and_not_a_reason_to_retry():
    sent = []
    _say(DataError("a.png: no such file"), sent.append)
    assert sent == [{"failed": "a.png: no such file", "cause": "data"}]


def test_anything_else_is_raised_so_that_the_trial_is_retried():
    with pytest.raises(ZeroDivisionError):
        _say(ZeroDivisionError("x"), lambda row: None)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OutputError("last.pt: checkpoint not written: no space left on its disk; free some and resume"),
    ],
)
def test_storage_that_cannot_be_written_is_not_the_trials_fault(error):
    sent = []
    _say(error, sent.append)
    assert list(sent[0]) == ["unwritable"]


@pytest.fixture
def small_memory(monkeypatch):
    """A device whose memory holds half of the batch."""
    step = Run.train_step

    def train_step(run, batch, step_means):
        if run.config.optim.accumulate == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        step(run, batch, step_means)

    monkeypatch.setattr(Run, "train_step", train_step)


def test_out_of_memory_fails_the_trial_with_its_cause(tmp_path, small_memory):
    sent = []
    with pytest.raises(OutOfMemory) as caught:
        _in_memory(lambda: _train(config(tmp_path), sent.append), config(tmp_path))
    _say(caught.value, sent.append)
    (row,) = sent
    assert "out of memory at step 0 (epoch 1)" in row["failed"]


def test_out_of_memory_is_retried_once_in_parts_where_the_study_allows_it_and_every_result_says_so(
    tmp_path, small_memory
):
    allowed = {**config(tmp_path), "on_out_of_memory": "accumulate"}
    allowed["trainer"]["data"]["batch_size"] = 4
    sent, again = [], []
    _in_memory(lambda: _train(allowed, sent.append), allowed)
    assert [(row["epoch"], row["accumulate"]) for row in sent] == [(1, 2), (2, 2)]
    _in_memory(lambda: _train(allowed, again.append), allowed)
    assert again == sent


def test_when_the_retry_begins_the_tensors_of_the_run_that_ran_out_of_memory_are_gone(tmp_path, monkeypatch):
    """Those that only a local variable of the failed step refers to, and those of its run."""
    step, seen, alive = Run.train_step, [], []

    def train_step(run, batch, step_means):
        if run.config.optim.accumulate == 1:
            activation = torch.zeros(1000)
            seen.extend([weakref.ref(activation), weakref.ref(next(run.student.parameters()))])
            raise torch.OutOfMemoryError("CUDA out of memory.")
        alive.append([one() is not None for one in seen])
        step(run, batch, step_means)

    monkeypatch.setattr(Run, "train_step", train_step)
    allowed = {**config(tmp_path), "on_out_of_memory": "accumulate"}
    _in_memory(lambda: _train(allowed, lambda row: None), allowed)
    assert alive[0] == [False, False]


def searcher(folder):
    store = TrialStore(folder, study(), SearchSpace(study()), total=12)
    return store, TrialStoreSearcher(
        store, trial_config=lambda key, values: {"key": key}, concurrent=lambda: 2, max_epochs=9
    )


def test_no_more_trials_run_at_once_than_fit(tmp_path):
    _, search = searcher(tmp_path)
    assert [search.suggest(name) for name in "abc"] == [{"key": "t0000"}, {"key": "t0001"}, None]


def test_tune_leaves_the_counting_to_the_searcher_and_starts_as_many_processes_side_by_side(tmp_path):
    _, search = searcher(tmp_path)
    limited = ConcurrencyLimiter(search, max_concurrent=3)  # what Tune makes of max_concurrent_trials
    assert [limited.suggest(name) for name in "abc"] == [{"key": "t0000"}, {"key": "t0001"}, None]
    limited.on_trial_complete("a", {"epoch": 9, "objective": 1.0})
    assert limited.suggest("e") == {"key": "t0002"}
    assert _get_max_pending_trials(SearchGenerator(limited)) == 3


def test_the_result_that_made_the_scheduler_stop_a_trial_is_in_the_journal(tmp_path):
    store, search = searcher(tmp_path)
    search.suggest("a")
    search.on_trial_result("a", {"epoch": 1, "objective": 5.0})
    search.on_trial_complete("a", {"epoch": 3, "objective": 7.0})
    (entry,) = store.entries()
    assert (entry.state, entry.scores) == ("stopped", {1: 5.0, 3: 7.0})


def test_a_trial_that_could_not_write_is_taken_up_by_the_next_driver(tmp_path):
    store, search = searcher(tmp_path)
    search.suggest("a")
    search.on_trial_complete("a", {"unwritable": "last.pt"})
    assert store.entries()[0].state == "running"
    assert searcher(tmp_path)[0].next()[0] == "t0000"


def test_the_first_configuration_is_the_studys_first_point(tmp_path):
    store = TrialStore(tmp_path, study(), SearchSpace(study()), total=12)
    found = {}
    TrialStoreSearcher(store, trial_config=found.setdefault, concurrent=lambda: 2, max_epochs=9).suggest("a")
    assert found == {"t0000": base()["points"][0]}


def test_a_failed_trials_tensors_are_gone_when_its_last_word_is_sent(tmp_path, monkeypatch):
    kept, alive = [], []

    def fails(*_):
        tensor = torch.zeros(3)
        kept.append(weakref.ref(tensor))
        raise OutOfMemory("out of memory at step 0")

    monkeypatch.setattr("ipix_tune.execution.trainable._train", fails)
    monkeypatch.setattr("ray.tune.report", lambda row: alive.append((row, kept[0]() is not None)))
    in_actor(config(tmp_path))
    assert alive == [({"failed": "out of memory at step 0", "cause": "memory"}, False)]


class Second:
    """The second worker of a trial, which the first one has left."""

    rank, count, address = 1, 2, "127.0.0.1"

    def first_says(self, what=None):
        return None


def test_no_worker_of_a_trial_makes_the_folder_of_a_storage_that_is_away(tmp_path):
    storage, elsewhere = tmp_path / "studies", tmp_path / "elsewhere"
    (storage / "voc" / "trials" / "t0000").mkdir(parents=True)
    storage.rename(elsewhere)
    back = threading.Timer(0.7, lambda: elsewhere.rename(storage))
    back.start()
    trainer = {"function": "builtins:print", "epochs": 1, "score": "score", "config": {}, "seed": 0}
    _train(
        {**config(storage / "voc" / "trials" / "t0000", metric="score"), "trainer": trainer},
        lambda row: True,
        peers=Second(),
    )
    back.join()
    assert not elsewhere.exists()
