"""A study is the one that its folder was made for, whatever the folder is called and wherever it lies."""

import re

import pytest

from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.search.trial_store import TrialStore
from ipix_tune.storage import study_folder
from ipix_tune.storage.study_identity import IDENTITY, IdentityError, identity
from ipix_tune.study.run_search import acceptable
from tests.ipix_tune.studies import base


def study(tmp_path, **changes):
    return StudyConfig.model_validate({**base(), "storage": str(tmp_path), **changes})


def trial_store(place, config, **options):
    return TrialStore(place, config, SearchSpace(config), total=12, there=study_folder.trials_of(place), **options)


def three_trials(place, config):
    store = trial_store(place, config)
    for _ in range(3):
        key, _ = store.next()
        (place / "trials" / key).mkdir(parents=True)
        store.report(key, epoch=1, score=50.0)
        store.end(key, state="complete")


def test_two_studies_of_one_name_have_two_identities(tmp_path):
    found = {
        identity(study_folder.prepare(study(tmp_path / place), resume=False), study(tmp_path / place)) for place in "ab"
    }
    assert len(found) == 2
    assert all(re.fullmatch(r"small-[0-9a-f]{6}", one) for one in found)


def test_a_resume_keeps_the_identity(tmp_path):
    place = study_folder.prepare(study(tmp_path), resume=False)
    before = (place / IDENTITY).read_text()
    study_folder.prepare(study(tmp_path), resume=True)
    assert (place / IDENTITY).read_text() == before


def test_a_renamed_folder_is_the_same_study(tmp_path):
    place = study_folder.prepare(study(tmp_path), resume=False)
    three_trials(place, study(tmp_path))
    place.rename(tmp_path / "renamed")
    config = study(tmp_path, name="renamed")
    renamed = study_folder.prepare(config, resume=True)
    assert [entry.key for entry in trial_store(renamed, config).entries()] == ["t0000", "t0001", "t0002"]


def test_a_resume_without_the_record_of_its_trials_is_refused(tmp_path):
    place = study_folder.prepare(study(tmp_path), resume=False)
    three_trials(place, study(tmp_path))
    (place / "journal.log").unlink()
    with pytest.raises(IdentityError, match=r"holds 3 trials, t0000 to t0002, .*journal\.log\) knows none of them"):
        trial_store(place, study(tmp_path))


def test_a_resume_with_an_older_record_than_its_trials_is_refused(tmp_path):
    place = study_folder.prepare(study(tmp_path), resume=False)
    three_trials(place, study(tmp_path))
    (place / "trials" / "t0003").mkdir()
    with pytest.raises(IdentityError, match="knows 3 of them"):
        trial_store(place, study(tmp_path))


def test_a_resume_with_another_database_is_refused_and_names_it_without_password(tmp_path):
    config = study(tmp_path, record=f"sqlite:///{tmp_path}/a.db")
    place = study_folder.prepare(config, resume=False)
    three_trials(place, config)
    with pytest.raises(IdentityError, match=r"b\.db\) knows none"):
        trial_store(place, study(tmp_path, record=f"sqlite:///{tmp_path}/b.db"))


def test_the_record_of_the_search_need_not_know_the_runs_of_the_confirmation(tmp_path):
    place = study_folder.prepare(study(tmp_path), resume=False)
    three_trials(place, study(tmp_path))
    (place / "trials" / "c0000").mkdir()
    assert len(trial_store(place, study(tmp_path)).entries()) == 3


def test_an_old_study_without_an_identity_that_was_renamed_is_the_same_study(tmp_path):
    place = study_folder.prepare(study(tmp_path), resume=False)
    (place / IDENTITY).write_text("small")  # as such a study's record and runs are named
    three_trials(place, study(tmp_path))
    (place / IDENTITY).unlink()
    place.rename(tmp_path / "renamed")
    config = study(tmp_path, name="renamed")
    assert identity(tmp_path / "renamed", config) == "small"
    for _ in range(2):  # the first resume writes the new name into study.yaml
        renamed = study_folder.prepare(config, resume=True)
        assert [entry.key for entry in trial_store(renamed, config).entries()] == ["t0000", "t0001", "t0002"]
    assert (renamed / IDENTITY).read_text() == "small"


def test_a_resume_that_is_refused_by_its_record_changes_no_file(tmp_path):
    place = study_folder.prepare(study(tmp_path), resume=False)
    three_trials(place, study(tmp_path))
    (place / "journal.log").unlink()
    before = (place / "study.yaml").read_bytes()
    other = study(tmp_path, retries=7)
    with pytest.raises(IdentityError, match="knows none of them"):
        study_folder.prepare(other, resume=True, accept=lambda it: acceptable(other, SearchSpace(other), None, it))
    assert (place / "study.yaml").read_bytes() == before
