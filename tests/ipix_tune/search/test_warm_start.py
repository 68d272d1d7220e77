import json
import pickle

import optuna
import pytest
from optuna.trial import TrialState

from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.search.rank_transform import FORGOTTEN, RankedSampler
from ipix_tune.search.trial_store import TrialStore
from ipix_tune.search.warm_start import WarmStartError, describe_warm_start, earlier_studies, past_trials
from ipix_tune.study.plan import make_plan, render
from ipix_tune.study.simulation.curves import curves_of
from ipix_tune.study.simulation.simulator import Simulation
from tests.ipix_tune.studies import base, config_of
from tests.ipix_tune.study.simulation.test_curves import CONFIGS, config_with, saved
from tests.ipix_tune.study.test_plan import printed

EPOCHS = 9
WIDE = [config_with(alpha=10 ** (k / 10 - 2), distance="kl", lr=1e-3) for k in range(30)]
"""Thirty configurations; the later, the larger alpha, and the better (`saved`)."""


def study(folders, **changes):
    return StudyConfig.model_validate({**base(), "points": [], "warm_start": folders, **changes})


def earlier(folder, **changes):
    config = study([folder], **changes)
    return earlier_studies(config, SearchSpace(config))[0]


def past(folder, **changes):
    config = study([folder], **changes)
    return past_trials(config, SearchSpace(config))


def plan_of(config):
    """The printed plan, on one line."""
    warm = describe_warm_start(config, SearchSpace(config))
    return " ".join(printed(render(make_plan(config), warm=warm)).split())


def ended(store, *, score):
    key, values = store.next()
    store.report(key, epoch=EPOCHS, score=score)
    store.end(key, state="complete")
    return values


def test_the_first_configuration_is_drawn_near_the_best_of_the_earlier_study(tmp_path):
    folder = saved(tmp_path, WIDE)
    drawn = []
    for seed in range(20):
        config = study([folder], sampler={"seed": seed})
        drawn.append(TrialStore(None, config, SearchSpace(config), total=1).next()[1]["interpixel.alpha"])
    assert sum(alpha > 1e-2 * 10**2 for alpha in drawn) > 12


def test_an_earlier_studys_trials_are_no_trials_of_this_one(tmp_path):
    config = study([saved(tmp_path, WIDE)])
    store = TrialStore(None, config, SearchSpace(config), total=2)
    key, _ = store.next()
    assert key == "t0000"
    assert [entry.key for entry in store.entries()] == ["t0000"]
    assert (store.started, store.remaining, store.epochs) == (1, 1, 0)


def test_correlations_that_an_earlier_version_multiplied_by_t_squared_teach_nothing(tmp_path, monkeypatch):
    import ipix_tune.search.warm_start

    monkeypatch.setattr(ipix_tune.search.warm_start, "json", type("Old", (), {"loads": staticmethod(_as_multiplied)}))
    found = earlier(saved(tmp_path, CONFIGS))
    kept = [one for one in CONFIGS if one.interpixel.distance == "kl"]
    assert len(found.used) <= len(kept) < len(CONFIGS)
    assert any("interpixel.t2_scale where it is refused now" in reason for reason in found.left_out)


def _as_multiplied(text):
    config = json.loads(text)
    config["interpixel"]["t2_scale"] = True
    return config


def test_an_earlier_studys_trials_are_no_duplicates(tmp_path):
    search = {"interpixel.distance": {"choice": ["kl", "cr"]}}
    config = study([saved(tmp_path, CONFIGS)], search=search)
    store = TrialStore(None, config, SearchSpace(config), total=2)
    assert {ended(store, score=1.0)["interpixel.distance"] for _ in range(2)} == {"kl", "cr"}


def test_what_tpe_is_shown_is_the_same_whatever_the_level_of_the_scores(tmp_path):
    (tmp_path / "low").mkdir()
    low = saved(tmp_path / "low", WIDE, epochs=9)
    recorded = [(one.params, one.value) for one in past(low)]
    assert [value for _, value in recorded] == pytest.approx([(k + 0.5) / 30 for k in range(30)])


def test_a_stopped_trial_is_shown_with_a_place_too_whatever_the_length_of_its_study(tmp_path):
    states = ["stopped", "complete", "complete", "complete"]
    folder = saved(tmp_path, CONFIGS, epochs=3, states=states, facts={"scheduler": {"max_epochs": 9}})
    config = study([folder], trainer={**base()["trainer"], "schedule": {"epochs": 18}})
    shown = past_trials(config, SearchSpace(config))
    assert [one.state for one in shown] == [TrialState.COMPLETE] * 4
    assert [one.value for one in shown] == pytest.approx([1 / 8, 3 / 8, 5 / 8, 7 / 8])


def test_every_other_proposal_is_made_without_the_earlier_trials(tmp_path):
    shown = []

    class Model(optuna.samplers.RandomSampler):
        def sample_relative(self, whole, trial, search_space):
            shown.append(sum(one.number < 0 for one in whole.get_trials(deepcopy=False)))
            return {}

    own = optuna.create_study(sampler=RankedSampler(Model(), past(saved(tmp_path, WIDE))))
    for _ in range(4):
        own.ask().suggest_float("x", 0, 1)
    assert shown == [30, 0, 30, 0]


def test_values_outside_a_narrower_range_are_left_out_and_counted(tmp_path):
    search = base()["search"] | {"interpixel.alpha": {"loguniform": [0.05, 10]}}
    found = earlier(saved(tmp_path, CONFIGS), search=search)
    assert [one.values["interpixel.alpha"] for one in found.used] == [0.1, 0.1, 0.1]
    assert found.describe().endswith(
        "3 of 4 trials used; left out: 1 with interpixel.alpha outside loguniform [0.05, 10.0]"
    )


def test_trials_that_failed_or_were_cut_off_are_left_out_and_counted(tmp_path):
    found = earlier(saved(tmp_path, CONFIGS, states=["complete", "failed", "interrupted", "failed"]))
    assert found.describe().endswith("1 of 4 trials used; left out: 2 failed, 1 interrupted")


def test_a_dimension_that_was_not_searched_has_its_recorded_value(tmp_path):
    search = base()["search"] | {"method.conf_thresh": {"uniform": [0.9, 1]}}
    found = earlier(saved(tmp_path, CONFIGS), search=search)
    assert {one.values["method.conf_thresh"] for one in found.used} == {CONFIGS[0].method.conf_thresh}


def test_a_key_that_is_not_searched_any_more_is_dropped(tmp_path):
    found = earlier(saved(tmp_path, CONFIGS), search={"optim.lr": {"loguniform": [1e-4, 1e-1]}})
    assert [set(one.values) for one in found.used] == [{"optim.lr"}] * 4


def test_an_inactive_dimension_is_not_set(tmp_path):
    found = earlier(saved(tmp_path, CONFIGS))
    assert ["method.ema_decay" in one.values for one in found.used] == [False, False, False, True]


def test_the_folder_of_the_tables_will_do(tmp_path):
    folder = saved(tmp_path, CONFIGS)
    assert len(earlier(f"{folder}/tables").used) == 4


def test_a_folder_that_is_not_there_is_refused_by_name():
    with pytest.raises(WarmStartError, match="warm_start: studies/none: there is no such folder"):
        earlier("studies/none")


def test_a_folder_without_tables_is_refused_with_what_makes_them(tmp_path):
    with pytest.raises(WarmStartError, match=rf"warm_start: {tmp_path}/tables: no tables; make them with"):
        earlier(str(tmp_path))


def test_a_metric_that_was_not_recorded_is_refused_by_name(tmp_path):
    with pytest.raises(WarmStartError, match=r"no column val/miu .*did you mean \"val/miou\""):
        earlier(saved(tmp_path, CONFIGS), objective={"metric": "val/miu"})


def test_a_study_of_which_no_trial_fits_is_refused_with_the_reasons(tmp_path):
    with pytest.raises(WarmStartError, match="0 of 4 trials used; left out: 4 failed; leave this folder out"):
        earlier(saved(tmp_path, CONFIGS, states=["failed"] * 4))


def test_a_resumed_study_proposes_what_the_unbroken_one_would_have(tmp_path):
    (tmp_path / "old").mkdir()
    config = study([saved(tmp_path / "old", WIDE)])
    space = SearchSpace(config)
    whole = TrialStore(None, config, space, total=6)
    expected = [ended(whole, score=float(k)) for k in range(6)]
    (tmp_path / "new").mkdir()
    first = TrialStore(tmp_path / "new", config, space, total=6)
    got = [ended(first, score=float(k)) for k in range(3)]
    (tmp_path / "old" / "tables" / "runs.parquet").unlink()
    second = TrialStore(tmp_path / "new", config, space, total=6)
    got += [ended(second, score=float(k)) for k in range(3, 6)]
    assert got == expected


@pytest.mark.parametrize(("ended", "shown"), [(0, 30), (FORGOTTEN, 15), (9 * FORGOTTEN, 3), (1000, 0)])
def test_earlier_trials_fade_as_own_ones_end(tmp_path, ended, shown):
    sampler = RankedSampler(optuna.samplers.RandomSampler(), past(saved(tmp_path, WIDE)))
    own = [optuna.trial.create_trial(value=1.0)] * ended
    places = [one.value for one in sampler._remembered(own)]
    assert len(places) == shown
    if shown > 1:
        assert (places[0], places[-1]) == pytest.approx((0.5 / 30, 29.5 / 30))


def test_the_sampler_survives_pickling(tmp_path):
    sampler = RankedSampler(optuna.samplers.TPESampler(seed=0), past(saved(tmp_path, CONFIGS)))
    assert [one.params for one in pickle.loads(pickle.dumps(sampler))._past] == [one.params for one in sampler._past]


@pytest.mark.parametrize("prior", [None, {"center": 0.5}])
def test_a_warm_study_can_be_simulated_with_and_without_priors(tmp_path, prior):
    search = base()["search"]
    search["interpixel.alpha"]["prior"] = prior
    config = study([saved(tmp_path, WIDE)], search=search)
    curves = curves_of("power", config, epochs=EPOCHS, seed=0)
    outcome = Simulation(config, curves, max_epochs=EPOCHS, concurrent=4).run()
    assert [entry.key for entry in outcome.entries] == [f"t{number:04d}" for number in range(12)]


def test_the_plan_says_how_many_trials_of_which_study_are_used(tmp_path):
    folder = saved(tmp_path, CONFIGS, states=["complete", "failed", "complete", "complete"])
    assert "3 of 4 trials used; left out: 1 failed" in plan_of(study([folder]))


def test_a_sampler_that_cannot_learn_from_them_says_so(tmp_path):
    config = study([saved(tmp_path, CONFIGS)], sampler={"name": "random"})
    assert "random does not use them" in plan_of(config)


def test_an_earlier_study_with_another_data_set_is_used_all_the_same(tmp_path):
    holdout = {"images": 50, "source": "unlabelled"}
    other = config_of(data={"name": "voc", "root": "VOC2012", "crop": 321, "batch_size": 4, "holdout": holdout})
    assert other.data.name != base()["trainer"]["data"]["name"]
    assert len(earlier(saved(tmp_path, [other, *CONFIGS])).used) == 5
