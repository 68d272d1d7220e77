"""What a confirmation runs: configurations, seeds, comparisons."""

import pytest

from ipix_tune.config.confirm_section import ConfirmError
from ipix_tune.config.load_study import load
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.search.trial_record import TrialRecord
from ipix_tune.study.confirm_arms import arms_of, comparisons, first_seed, kept, leaders, simplest_first
from ipix_tune.trainer.own.trainer import OwnTrainer
from tests.ipix_tune.studies import base, write
from trainers.data.open import open_data

PAPER = {"interpixel.alpha": 1, "interpixel.distance": "kl", "method.teacher": "shared", "optim.lr": 0.01}


def entry(number, score, *, state="complete", **values):
    values = {
        "interpixel.alpha": 2.0,
        "interpixel.distance": "kl",
        "method.teacher": "shared",
        "optim.lr": 0.02,
    } | values
    return TrialRecord(key=f"t{number:04d}", values=values, scores={9: score}, state=state, error=None, retries=0)


def study_of(folder, confirm, **changes):
    return load(write(folder, {**base(), "confirm": confirm, **changes}))


def arms(folder, confirm, entries, **changes):
    study = study_of(folder, confirm, **changes)
    return arms_of(study, SearchSpace(study), entries)


THREE = [
    entry(0, 70.0, **{"optim.lr": 0.03}),
    entry(1, 75.0, **{"optim.lr": 0.02}),
    entry(2, 80.0, state="stopped"),
    entry(3, 72.0, **{"optim.lr": 0.04}),
]


def leading(folder, entries, **changes):
    return [one.key for one in leaders(study_of(folder, {}, **changes), entries, top=2, max_epochs=9)]


def test_the_leaders_are_the_best_complete_trials_by_their_last_score(tmp_path):
    assert leading(tmp_path, THREE) == ["t0001", "t0003"]


def test_where_less_is_better_the_leaders_are_the_lowest(tmp_path):
    assert leading(tmp_path, THREE, objective={"mode": "min"}) == ["t0000", "t0003"]


def test_equal_configurations_of_several_seeds_lead_by_their_mean(tmp_path):
    lucky = [entry(0, 79.0, seed=0), entry(1, 70.0, seed=1), entry(2, 75.0, **{"optim.lr": 0.05})]
    assert leading(tmp_path, lucky) == ["t0002", "t0000"]


def test_top_defaults_and_both_without_the_part_are_four_configurations(tmp_path):
    found = arms(tmp_path, {"top": 1, "ablate": {"interpixel.alpha": 0}}, THREE)
    assert [arm.name for arm in found] == [
        "top 1",
        "defaults",
        "top 1 with interpixel.alpha=0",
        "defaults with interpixel.alpha=0",
    ]
    assert [arm.config.interpixel.alpha for arm in found] == [2.0, 1.0, 0.0, 0.0]
    assert [arm.config.optim.lr for arm in found] == [0.02, 0.01, 0.02, 0.01]


def test_equal_ablations_are_run_once_and_compared_with_each_that_they_came_from(tmp_path):
    same = {"interpixel.alpha": 0, "interpixel.distance": "kl", "optim.lr": 0.01}
    found = arms(tmp_path, {"top": 2, "ablate": same}, THREE)
    assert [arm.name for arm in found] == ["top 1", "top 2", "defaults", "interpixel.alpha=0"]
    assert found[-1].of == ("top 1", "top 2", "defaults")
    assert comparisons(found) == (
        ("top 1", "top 2"),
        ("top 1", "defaults"),
        ("top 2", "defaults"),
        ("top 1", "interpixel.alpha=0"),
        ("top 2", "interpixel.alpha=0"),
        ("defaults", "interpixel.alpha=0"),
    )


def test_ablations_that_differ_only_in_keys_without_effect_are_run_once(tmp_path):
    entries = [entry(0, 75.0), entry(1, 72.0, **{"interpixel.distance": "cr", "interpixel.alpha": 3.0})]
    found = arms(tmp_path, {"top": 2, "ablate": {"interpixel.alpha": 0}, "defaults": False}, entries)
    assert [arm.name for arm in found] == ["top 1", "top 2", "interpixel.alpha=0"]
    assert found[-1].of == ("top 1", "top 2")
    assert set(found[-1].values) == {"interpixel.alpha", "method.teacher", "optim.lr"}


def test_under_the_other_distance_the_factor_t_squared_is_left_out(tmp_path):
    trainer = base()["trainer"] | {"interpixel": {"t2_scale": True}}
    confirm = {
        "top": 1,
        "defaults": False,
        "ablate": {"interpixel.distance": "cr"},
        "contrast": ["interpixel.distance"],
    }
    found = arms(tmp_path, confirm, [entry(0, 70.0)], trainer=trainer)
    settings = [(arm.config.interpixel.distance, arm.config.interpixel.t2_scale) for arm in found]
    assert settings == [("kl", True), ("cr", False)]


def test_a_leader_that_is_the_defaults_is_one_arm_with_both_names(tmp_path):
    found = arms(tmp_path, {"top": 1, "ablate": {"interpixel.alpha": 0}}, [entry(5, 70.0, **PAPER)])
    assert [arm.name for arm in found] == [
        "top 1 (equal to defaults)",
        "top 1 (equal to defaults) with interpixel.alpha=0",
    ]
    assert found[0].roles == ("top", "defaults")
    assert comparisons(found) == (("top 1 (equal to defaults)", "top 1 (equal to defaults) with interpixel.alpha=0"),)


def test_a_leader_that_is_another_ones_ablation_is_not_run_twice(tmp_path):
    search = base()["search"] | {"interpixel.alpha": {"choice": [0, 1, 2]}}
    entries = [entry(0, 71.0), entry(1, 70.0, **{"interpixel.alpha": 0.0})]
    confirm = {"top": 2, "defaults": False, "ablate": {"interpixel.alpha": 0}}
    found = arms(tmp_path, confirm, entries, search=search)
    assert [arm.name for arm in found] == ["top 1", "top 2 (equal to top 1 with interpixel.alpha=0)"]
    assert comparisons(found) == (("top 1", "top 2 (equal to top 1 with interpixel.alpha=0)"),)


def test_a_contrast_runs_the_leader_with_every_other_choice_and_nothing_else_changed(tmp_path):
    found = arms(tmp_path, {"top": 1, "defaults": False, "contrast": ["interpixel.distance"]}, THREE)
    leader, twin = found
    assert twin.name == "top 1 with interpixel.distance=cr"
    assert twin.config == leader.config.model_copy(
        update={"interpixel": leader.config.interpixel.model_copy(update={"distance": "cr"})}
    )


def test_under_another_choice_what_was_active_only_with_the_leaders_is_left_out(tmp_path):
    ema = entry(0, 70.0, **{"method.teacher": "ema", "method.ema_decay": 0.99})
    found = arms(tmp_path, {"top": 1, "defaults": False, "contrast": ["method.teacher"]}, [ema])
    assert "method.ema_decay" in found[0].values
    assert found[1].values["method.teacher"] == "shared"
    assert "method.ema_decay" not in found[1].values


def test_defaults_may_be_given_as_training_config_keys(tmp_path):
    found = arms(tmp_path, {"top": 1, "defaults": {"optim.lr": 0.005, "optim.momentum": 0.8}}, THREE)
    assert (found[1].config.optim.lr, found[1].config.optim.momentum) == (0.005, 0.8)
    assert found[1].config.interpixel.alpha == 0


def test_an_ablation_may_change_the_method(tmp_path):
    found = arms(tmp_path, {"top": 1, "defaults": False, "ablate": {"method.name": "supervised"}}, THREE)
    assert found[1].config.method.name == "supervised"
    assert found[1].config.optim == found[0].config.optim


LADDER = [{"interpixel.alpha": 0}, {"method.name": "supervised", "optim.lr": 0.01}]


def test_each_step_of_a_ladder_adds_to_those_before_it_and_is_compared_with_the_last(tmp_path):
    found = arms(tmp_path, {"top": 1, "defaults": False, "ablate": LADDER}, THREE)
    assert [arm.name for arm in found] == [
        "top 1",
        "top 1 with interpixel.alpha=0",
        "top 1 with method.name=supervised",
    ]
    assert [(arm.config.method.name, arm.config.interpixel.alpha, arm.config.optim.lr) for arm in found] == [
        ("unimatch", 2.0, 0.02),
        ("unimatch", 0.0, 0.02),
        ("supervised", 0.0, 0.01),
    ]
    assert comparisons(found) == (tuple(arm.name for arm in found[:2]), tuple(arm.name for arm in found[1:]))


def test_the_foot_of_ladders_that_end_alike_is_run_once(tmp_path):
    found = arms(tmp_path, {"top": 1, "ablate": LADDER}, THREE)
    foot = next(arm for arm in found if arm.name == "method.name=supervised")
    assert foot.of == ("top 1 with interpixel.alpha=0", "defaults with interpixel.alpha=0")
    assert len(found) == 5


def test_steps_of_a_ladder_are_called_by_the_names_that_they_are_given(tmp_path):
    named = dict(zip(("loss off", "labels only"), LADDER, strict=True))
    found, plain = (arms(tmp_path, {"top": 1, "ablate": one}, THREE) for one in (named, LADDER))
    assert [arm.name for arm in found[2:]] == ["top 1 with loss off", "labels only", "defaults with loss off"]
    assert [arm.config for arm in found] == [arm.config for arm in plain]


def test_a_step_that_changes_nothing_is_no_configuration_of_its_own(tmp_path):
    bare = [entry(0, 70.0, **PAPER | {"interpixel.alpha": 0.0})]
    search = base()["search"] | {"interpixel.alpha": {"choice": [0, 1, 2]}}
    found = arms(tmp_path, {"top": 1, "defaults": False, "ablate": LADDER}, bare, search=search)
    assert [arm.name for arm in found] == ["top 1", "top 1 with method.name=supervised"]
    assert comparisons(found) == (("top 1", "top 1 with method.name=supervised"),)


def test_of_a_ladder_the_foot_is_the_simplest(tmp_path):
    found = arms(tmp_path, {"top": 1, "defaults": False, "ablate": LADDER}, THREE)
    assert simplest_first(found) == tuple(arm.name for arm in reversed(found))


VARIANTS = {"CR": {"interpixel.distance": "cr", "interpixel.alpha": 3}}


def test_a_variant_is_the_defaults_with_its_keys_set_and_is_compared_with_them_alone(tmp_path):
    found = arms(tmp_path, {"top": 1, "variants": VARIANTS}, THREE)
    variant = found[-1]
    assert variant.name == "CR"
    assert (variant.config.interpixel.distance, variant.config.interpixel.alpha) == ("cr", 3)
    assert variant.config.optim == found[1].config.optim
    assert [pair for pair in comparisons(found) if "CR" in pair] == [("defaults", "CR")]
    assert {"defaults", "CR"} <= kept(found)


def test_a_variant_of_defaults_that_lead_is_compared_with_the_leader(tmp_path):
    found = arms(tmp_path, {"top": 1, "variants": VARIANTS}, [entry(5, 70.0, **PAPER)])
    assert comparisons(found) == (("top 1 (equal to defaults)", "CR"),)


def test_without_defaults_a_variant_is_made_of_the_leader_and_compared_with_it(tmp_path):
    found = arms(tmp_path, {"top": 2, "defaults": False, "variants": VARIANTS}, THREE)
    assert [arm.name for arm in found] == ["top 1", "top 2", "CR"]
    assert found[2].config.optim == found[0].config.optim
    assert set(comparisons(found)) == {("top 1", "top 2"), ("top 1", "CR")}


def test_without_a_complete_trial_there_is_nothing_to_confirm(tmp_path):
    with pytest.raises(ConfirmError, match="no trial of the search ran all its epochs"):
        arms(tmp_path, {"top": 1}, [entry(0, 70.0, state="stopped")])


def test_arms_of_a_published_question_are_kept_when_they_are_clearly_worse(tmp_path):
    confirm = {"top": 2, "ablate": {"interpixel.alpha": 0}, "contrast": ["interpixel.distance"]}
    found = arms(tmp_path, confirm, THREE)
    assert {arm.name for arm in found} - kept(found) == {"top 2"}


def test_the_simplest_comes_first_a_part_less_then_the_defaults_then_the_search(tmp_path):
    confirm = {"top": 2, "ablate": {"interpixel.alpha": 0}, "contrast": ["interpixel.distance"]}
    assert simplest_first(arms(tmp_path, confirm, THREE)) == (
        "defaults with interpixel.alpha=0",
        "top 1 with interpixel.alpha=0",
        "top 2 with interpixel.alpha=0",
        "defaults",
        "top 1",
        "top 2",
        "top 1 with interpixel.distance=cr",
    )


def test_the_seeds_are_none_that_the_search_used(tmp_path):
    study = study_of(tmp_path, {"top": 1}, trainer={**base()["trainer"], "seed": 41})
    space = SearchSpace(study)
    found = arms_of(study, space, THREE)
    first = first_seed(study, space, found)
    assert [OwnTrainer().with_seed(found[0].config, number, first=first).seed for number in (0, 1)] == [42, 43]


def test_where_single_seeds_were_searched_a_confirmation_draws_from_new_ones_for_every_source(tmp_path):
    trainer = base()["trainer"]
    trainer["data"]["draw"] = {"labelled": 12}
    search = {
        "optim.lr": {"choice": [0.01, 0.1]},
        "seeds.init": {"choice": [0, 7]},
        "data.draw.seed": {"choice": [0, 1, 2]},
    }
    grid = {"search": search, "sampler": {"name": "grid"}, "scheduler": {"name": "none"}, "points": []}
    study = study_of(tmp_path, {"top": 1, "defaults": {"optim.lr": 0.1}}, trainer=trainer, **grid)
    space = SearchSpace(study)
    values = {"optim.lr": 0.01, "seeds.init": 7, "data.draw.seed": 2}
    ran = TrialRecord(key="t0000", values=values, scores={9: 70.0}, state="complete", error=None, retries=0)
    found = arms_of(study, space, [ran])
    config = OwnTrainer().with_seed(found[0].config, 0, first=first_seed(study, space, found))
    assert (config.seed, config.init_seed, config.data.draw.seed) == (8, 8, 3)
    assert found[0].values == {"optim.lr": 0.01}


def test_a_seed_draws_the_same_new_split_for_all_arms_scored_on_the_same_images(tmp_path):
    trainer = base()["trainer"]
    trainer["data"]["draw"] = {"labelled": 12, "seed": 5}
    found = arms(tmp_path, {"top": 1}, THREE, trainer=trainer)
    of_search = open_data(found[0].config.data, final=False)
    splits = {}
    for number in (0, 1):
        for arm in found:
            data = open_data(OwnTrainer().with_seed(arm.config, number, first=1).data, final=False)
            splits.setdefault(number, set()).add(data.split_hash)
            assert data.holdout == of_search.holdout
    assert {len(hashes) for hashes in splits.values()} == {1}
    assert len(splits[0] | splits[1] | {of_search.split_hash}) == 3


def test_every_run_evaluates_the_official_validation_set_where_the_data_have_one(tmp_path):
    found = arms(tmp_path, {"top": 1}, THREE)
    assert OwnTrainer().with_seed(found[0].config, 0, first=1).evaluation.final is True


def test_a_change_of_a_config_is_checked(tmp_path):
    from trainers.common.errors import ConfigError

    found = arms(tmp_path, {"top": 1}, THREE)
    with pytest.raises(ConfigError, match=r"interpixel\.tau"):
        OwnTrainer().changed(found[0].config, {"interpixel.tau": 3})
