"""Whether the confirmation in a study's folder is the one that was asked for is known before anything is written."""

import json

import pytest

from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.storage import study_folder
from ipix_tune.study import confirm_plan
from ipix_tune.study.confirm_arms import ConfirmError
from ipix_tune.study.run_search import acceptable
from tests.ipix_tune.studies import base

CONFIRM = {"top": 1, "first_seeds": 2, "max_seeds": 3, "delta": 0.5}


def study(tmp_path, **confirm):
    return StudyConfig.model_validate({**base(), "storage": str(tmp_path), "confirm": {**CONFIRM, **confirm}})


@pytest.fixture
def begun(tmp_path):
    """A study whose confirmation has begun."""
    place = study_folder.prepare(study(tmp_path), resume=False)
    (place / "confirm").mkdir()
    plan = {"confirm": confirm_plan._section(study(tmp_path))}
    (place / "confirm" / "plan.json").write_text(json.dumps(plan))
    return place


@pytest.mark.parametrize("resume", [True, None])
def test_the_confirmation_that_has_begun_goes_on(tmp_path, begun, resume):
    confirm_plan.accept(study(tmp_path), begun, resume=resume)


def test_one_that_has_begun_is_not_begun_again(tmp_path, begun):
    with pytest.raises(ConfirmError, match="has begun; go on with --resume"):
        confirm_plan.accept(study(tmp_path), begun, resume=False)


def test_one_that_has_not_begun_cannot_be_resumed(tmp_path):
    place = study_folder.prepare(study(tmp_path), resume=False)
    with pytest.raises(ConfirmError, match="no confirmation has begun; leave out --resume"):
        confirm_plan.accept(study(tmp_path), place, resume=True)
    for resume in (False, None):
        confirm_plan.accept(study(tmp_path), place, resume=resume)


@pytest.mark.parametrize("changed", [{"max_seeds": 4}, {"delta": 0.1}, {"top": 2}, {"defaults": False}])
def test_another_plan_is_refused_with_what_it_began_with(tmp_path, begun, changed):
    (key,) = changed
    with pytest.raises(ConfirmError, match=f"its confirmation has begun with confirm.{key}: "):
        confirm_plan.accept(study(tmp_path, **changed), begun, resume=True)


def test_when_it_runs_and_which_arm_is_preferred_are_no_part_of_the_plan(tmp_path, begun):
    confirm_plan.accept(study(tmp_path, after_search=True, prefer="simplest"), begun, resume=True)


def test_a_resumed_search_with_another_plan_than_the_confirmation_that_has_begun_writes_nothing(tmp_path, begun):
    """As `sweep --resume --set confirm.max_seeds=4`: the search would go on, and its confirmation never again."""
    before = (begun / study_folder.STUDY).read_bytes()
    other = study(tmp_path, max_seeds=4)
    with pytest.raises(ConfirmError, match=r"has begun with confirm\.max_seeds: 3"):
        study_folder.prepare(
            other, resume=True, accept=lambda place: acceptable(other, SearchSpace(other), None, place)
        )
    assert (begun / study_folder.STUDY).read_bytes() == before
