"""A database gives the same study as a journal file."""

import optuna
import pytest

from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.search.trial_store import TrialStore
from ipix_tune.storage.atomic import FolderError
from ipix_tune.storage.study_identity import IDENTITY
from tests.ipix_tune.studies import base


def trial_store(folder, record):
    sampler = {"name": "tpe", "seed": 1, "startup_trials": 2}
    study = StudyConfig.model_validate(base() | {"record": record, "sampler": sampler})
    return TrialStore(folder, study, SearchSpace(study), total=12)


def go_on(store, trials):
    for _ in range(trials):
        key, values = store.next()
        store.report(key, epoch=1, score=100 * values["optim.lr"])
        store.end(key, state="complete")


@pytest.fixture
def record(tmp_path):
    return f"sqlite:///{tmp_path}/studies.db"


def test_a_study_that_is_taken_up_again_is_the_one_that_a_journal_file_gives(tmp_path, record):
    for name in ("ours", "file"):
        (tmp_path / name).mkdir()
    go_on(trial_store(tmp_path / "file", "journal"), 6)
    go_on(trial_store(tmp_path / "ours", record), 3)
    go_on(trial_store(tmp_path / "ours", record), 3)
    assert trial_store(tmp_path / "ours", record).entries() == trial_store(tmp_path / "file", "journal").entries()


def test_a_trial_that_was_running_is_handed_out_again(tmp_path, record):
    store = trial_store(tmp_path, record)
    key, values = store.next()
    store.report(key, epoch=1, score=5.0)
    again = trial_store(tmp_path, record)
    assert again.next() == (key, values)
    assert again.entry(key).scores == {1: 5.0}


def test_optuna_itself_reads_a_database(tmp_path):
    url = f"sqlite:///{tmp_path}/studies.db"
    go_on(trial_store(tmp_path, url), 2)
    assert [trial.state.name for trial in optuna.load_study(study_name="small", storage=url).trials] == ["COMPLETE"] * 2


def test_two_studies_of_one_name_share_a_database(tmp_path):
    url = f"sqlite:///{tmp_path}/studies.db"
    for name, trials in (("one", 2), ("two", 3)):
        (tmp_path / name).mkdir()
        (tmp_path / name / IDENTITY).write_text(f"small-{name}")
        go_on(trial_store(tmp_path / name, url), trials)
    assert [len(trial_store(tmp_path / name, url).entries()) for name in ("one", "two")] == [2, 3]


@pytest.mark.parametrize("url", ["no://url", "sqlite:////no/such/folder/studies.db", "nonsense://x"])
def test_a_database_that_cannot_be_opened_is_named_before_anything_starts(tmp_path, url):
    with pytest.raises(FolderError, match="record: the database cannot be opened"):
        trial_store(tmp_path, url)


@pytest.mark.parametrize(("record", "words"), [("memory", "the version that began it"), ("jurnal", 'mean "journal"')])
def test_a_record_that_is_no_file_and_no_database_is_refused_with_what_is_allowed(record, words):
    with pytest.raises(ValueError, match=f"`journal`, a file.*database's URL.*{words}"):
        StudyConfig.model_validate(base() | {"record": record})
