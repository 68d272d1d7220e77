"""What a confirmation costs at most, before anybody knows the arms."""

import itertools

import pytest

from ipix_tune.config.load_study import load
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.study.confirm_arms import arms_of
from ipix_tune.study.confirm_budget import price
from ipix_tune.study.plan import make_plan, render
from ipix_tune.trainer.own.step_timing import StepTiming
from tests.ipix_tune.studies import base, write
from tests.ipix_tune.study.test_confirm_arms import LADDER, THREE, VARIANTS
from tests.ipix_tune.study.test_plan import printed

CONFIRMATIONS = [
    (top, defaults, contrast)
    for top, defaults, contrast in itertools.product(
        (1, 2), (True, False), ([], ["interpixel.distance", "method.teacher"])
    )
]


@pytest.mark.parametrize(("top", "defaults", "contrast"), CONFIRMATIONS)
@pytest.mark.parametrize("ablate", [{}, {"interpixel.alpha": 0}])
def test_the_worst_case_is_what_is_run_where_no_configurations_turn_out_equal(
    tmp_path, top, defaults, ablate, contrast
):
    if (top, defaults, ablate, contrast) == (1, False, {}, []):
        pytest.skip("nothing is compared")
    study = load(
        write(
            tmp_path, {**base(), "confirm": {"top": top, "defaults": defaults, "ablate": ablate, "contrast": contrast}}
        )
    )
    assert price(study, max_epochs=9).arms == len(arms_of(study, SearchSpace(study), THREE))


@pytest.mark.parametrize(("top", "defaults", "contrast"), CONFIRMATIONS)
def test_of_a_ladder_whose_feet_may_be_one_the_worst_case_counts_each(tmp_path, top, defaults, contrast):
    study = load(
        write(
            tmp_path, {**base(), "confirm": {"top": top, "defaults": defaults, "ablate": LADDER, "contrast": contrast}}
        )
    )
    found = arms_of(study, SearchSpace(study), THREE)
    feet = top + defaults
    assert price(study, max_epochs=9).arms == len(found) + feet - 1


def test_every_variant_is_one_more(tmp_path):
    plain, more = (
        load(write(tmp_path, {**base(), "confirm": {"top": 1, "variants": variants}})) for variants in ({}, VARIANTS)
    )
    assert price(more, max_epochs=9).arms == price(plain, max_epochs=9).arms + 1


def test_runs_and_epochs_are_arms_times_seeds(tmp_path):
    confirm = {"top": 2, "ablate": {"interpixel.alpha": 0}, "first_seeds": 3, "max_seeds": 8}
    asked = price(load(write(tmp_path, {**base(), "confirm": confirm})), max_epochs=9)
    assert (asked.arms, asked.epochs_at_least, asked.epochs_at_most) == (6, 6 * 3 * 9, 6 * 8 * 9)


def test_the_plan_of_the_search_names_the_price_and_the_measured_hours(tmp_path):
    study = load(write(tmp_path, {**base(), "confirm": {"top": 1, "max_seeds": 4}}))
    cost = StepTiming(device="CPU", step_s=(1.0, 2.0), evaluation_s=0.0, steps_per_epoch=10, every=1)
    text = " ".join(printed(render(make_plan(study), cost=cost)).split())
    assert "with ipix-tune confirm, at most 2 configurations x 3 to 4 seeds: 6 to 8 runs of 9 epochs" in text
    assert "at most: 12 min to 24 min with 1 at once" in text


def test_without_a_confirmation_the_plan_names_none(tmp_path):
    assert "confirm" not in printed(render(make_plan(load(write(tmp_path, base())))))


def test_as_many_first_seeds_as_seeds_in_all_are_said_once(tmp_path):
    confirm = {"top": 1, "first_seeds": 2, "max_seeds": 2}
    asked = price(load(write(tmp_path, {**base(), "confirm": confirm})), max_epochs=9)
    assert asked.lines()[0] == "2 configurations x 2 seeds: 4 runs of 9 epochs, 36 epochs"
