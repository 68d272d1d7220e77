import math
import pickle
import random
from collections import Counter

import numpy as np
import optuna
import pytest
from scipy import special, stats

from ipix_tune.config.dimension import contains, from_unit, sample, to_unit
from ipix_tune.config.dimension_config import Dimension
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.search.prior_sampler import SOURCE, Belief, evidence, near, prior_of, support, trust
from ipix_tune.search.samplers import build_sampler
from ipix_tune.search.trial_store import TrialStore
from tests.ipix_tune.studies import base

SEARCH = {
    "interpixel.alpha": {"loguniform": [0.01, 10], "prior": {"center": 0.0625}},
    "interpixel.distance": {"choice": ["kl", "cr"], "prior": {"center": "cr"}},
    "interpixel.tau": {"quniform": [0, 0.9, 0.1], "prior": {"center": 0.8, "spread": 0.1}},
    "method.teacher": {"choice": ["shared", "ema"], "prior": {"center": "ema"}},
    "method.ema_decay": {"choice": [0.99, 0.996], "only_if": {"method.teacher": "ema"}, "prior": {"center": 0.996}},
    "data.crop": {"int": [32, 64], "prior": {"center": 48}},
    "optim.lr": {"loguniform": [1e-4, 1e-1]},
}
CENTER = {
    "interpixel.alpha": 0.0625,
    "interpixel.distance": "cr",
    "interpixel.tau": 0.8,
    "method.teacher": "ema",
    "method.ema_decay": 0.996,
    "data.crop": 48,
}
DIMENSIONS = [
    {"uniform": [-2, 3]},
    {"loguniform": [0.01, 10]},
    {"quniform": [0, 0.9, 0.1]},
    {"int": [3, 8]},
    {"logint": [1, 100]},
]


def study_with(search=None, **changes):
    return StudyConfig.model_validate({**base(), "points": [], "search": search or SEARCH, **changes})


def belief(dimension, center, spread=0.2):
    return Belief(dimension=Dimension.model_validate(dimension), center=center, spread=spread)


@pytest.mark.parametrize("keys", DIMENSIONS)
def test_a_value_comes_back_from_its_place_between_0_and_1(keys):
    dimension, rng = Dimension.model_validate(keys), random.Random(0)
    for _ in range(100):
        value = sample(rng, dimension, corners=False)
        assert from_unit(dimension, to_unit(dimension, value)) == pytest.approx(value)


@pytest.mark.parametrize("keys", [{"quniform": [0, 0.9, 0.1]}, {"int": [3, 8]}])
def test_every_value_of_a_stepped_range_has_an_equal_share_of_the_unit_interval(keys):
    dimension = Dimension.model_validate(keys)
    counts = Counter(from_unit(dimension, u) for u in np.linspace(0, 1, 60_001))
    assert max(counts.values()) - min(counts.values()) <= 2


@pytest.mark.parametrize("keys", DIMENSIONS)
def test_what_a_prior_draws_lies_in_the_range(keys):
    dimension, rng = Dimension.model_validate(keys), np.random.default_rng(0)
    low, high = getattr(dimension, dimension.kind)[:2]
    for center in (low, high):
        one = belief(keys, center, 0.5)
        assert all(contains(dimension, one.draw(rng)) for _ in range(300))


def test_draws_follow_scipys_truncated_normal_on_the_log_scale():
    one, rng = belief({"loguniform": [0.01, 10]}, 0.1), np.random.default_rng(0)
    units = [math.log(one.draw(rng) / 0.01) / math.log(1000) for _ in range(4000)]
    mean = math.log(10) / math.log(1000)
    expected = stats.truncnorm((0 - mean) / 0.2, (1 - mean) / 0.2, loc=mean, scale=0.2)
    assert stats.kstest(units, expected.cdf).pvalue > 0.01


def test_a_narrower_draw_is_nearer_to_the_center():
    rng = np.random.default_rng(0)
    for keys, center in (({"uniform": [0, 1]}, 0.5), ({"choice": [0.5, 0.1, 0.9]}, 0.5)):
        far = [np.mean([abs(belief(keys, center).draw(rng, scale=one) - 0.5) for _ in range(2000)]) for one in (1, 0.5)]
        assert far[1] == pytest.approx(far[0] / 2, rel=0.15)


@pytest.mark.parametrize("value", [0.01, 0.1, 3.0])
def test_the_density_is_scipys(value):
    mean, at = (math.log(one / 0.01) / math.log(1000) for one in (0.1, value))
    expected = stats.truncnorm.logpdf(at, (0 - mean) / 0.2, (1 - mean) / 0.2, loc=mean, scale=0.2)
    assert belief({"loguniform": [0.01, 10]}, 0.1).log_density(value) == pytest.approx(expected)


def test_a_preferred_choice_is_taken_and_the_rest_drawn_as_often_as_the_spread_says():
    one, rng = belief({"choice": ["a", "b", "c", "d"]}, "b", 0.4), np.random.default_rng(0)
    shares = {value: count / 20_000 for value, count in Counter(one.draw(rng) for _ in range(20_000)).items()}
    expected = {"a": 0.1, "b": 0.7, "c": 0.1, "d": 0.1}
    assert shares == pytest.approx(expected, abs=0.015)
    assert {value: math.exp(one.log_density(value)) for value in "abcd"} == pytest.approx(expected)


def test_the_first_configuration_is_the_priors_center(tmp_path):
    config = study_with()
    values = TrialStore(tmp_path, config, SearchSpace(config), total=3).next()[1]
    assert {name: values[name] for name in CENTER} == CENTER


def trial_with(number, scores, values):
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.PRUNED,
        params=values,
        distributions={name: optuna.distributions.FloatDistribution(0, 1) for name in values},
        intermediate_values=scores,
    )


def test_the_best_trials_are_looked_for_at_the_highest_epoch_that_enough_have_reached():
    scores = [{1: 9, 3: number % 5} for number in range(8)] + [{1: 99}, {1: 6, 3: 4.5, 9: 0}]
    trials = [trial_with(number, one, {"x": number / 10}) for number, one in enumerate(scores)]
    expected = [0.9, 0.4, 0.3, 0.2, 0.7, 0.1, 0.6, 0.0, 0.5]
    assert [values["x"] for values in evidence(trials, maximize=True).ranked] == expected
    assert evidence(trials, maximize=False).incumbent == {"x": 0.0}


def test_of_many_trials_three_in_ten_must_have_reached_the_epoch():
    def epochs_looked_at(far):
        trials = [trial_with(n, {1: n, 3: 0} if n < far else {1: n}, {"x": n / 100}) for n in range(100)]
        return len(evidence(trials, maximize=True).ranked)

    assert (epochs_looked_at(29), epochs_looked_at(30)) == (100, 30)


def test_there_is_no_evidence_before_eight_trials_have_scores():
    trials = [trial_with(number, {1: 1.0}, {"x": 0.5}) for number in range(7)]
    assert evidence([*trials, trial_with(7, {}, {"x": 0.5})], maximize=True) is None
    assert evidence([*trials, trial_with(7, {1: 0.0}, {"x": 0.5})], maximize=True) is not None


LINE = {"optim.lr": {"uniform": [0, 1], "prior": {"center": 0.9, "spread": 0.1}}}
SPACE = SearchSpace(study_with(LINE))


def found_in(*ranked):
    return evidence([trial_with(i, {1: -i}, {"optim.lr": value}) for i, value in enumerate(ranked)], maximize=True)


def test_there_is_no_evidence_where_most_trials_lack_a_score_at_the_epoch():
    known = [
        optuna.trial.create_trial(state=optuna.trial.TrialState.PRUNED, intermediate_values={1 + number: 1.0})
        for number in range(9)
    ]
    assert evidence(known, maximize=True) is None


def test_the_support_is_the_distance_of_the_good_from_all_in_standard_errors():
    ranked = (0.5, 0.6, 0.7, 0.8, 0.1, 0.3, 0.4, 0.2)
    logs = stats.truncnorm.logpdf(ranked[1:], -9, 1, loc=0.9, scale=0.1)
    expected = (logs[:2].mean() - logs.mean()) / (logs.std() / math.sqrt(2))
    assert support(prior_of(SPACE), found_in(*ranked)) == pytest.approx(expected)


def test_it_counts_which_trials_turned_out_well_and_not_where_most_were_drawn():
    near_the_prior = [0.95, 0.9, 0.85, 0.92, 0.88, 0.93]
    assert support(prior_of(SPACE), found_in(0.3, 0.25, 0.35, *near_the_prior)) < 0
    assert support(prior_of(SPACE), found_in(*near_the_prior, 0.3, 0.25, 0.35)) > 0


def test_trust_is_the_logistic_of_the_support_and_of_its_lead_over_the_incumbents():
    found = found_in(0.5, 0.6, 0.7, 0.8, 0.1, 0.3, 0.4, 0.2)
    for_prior, for_incumbent = support(prior_of(SPACE), found), support(near(SPACE, found.incumbent), found)
    left = trust(SPACE, prior_of(SPACE), found)
    assert left.prior == pytest.approx(special.expit(for_prior))
    assert left.against_incumbent == pytest.approx(special.expit(for_prior - for_incumbent))


def test_trials_that_are_all_alike_support_nothing():
    assert support(prior_of(SPACE), found_in(*[0.5] * 8)) == 0


def test_a_dimension_that_is_inactive_in_the_incumbent_is_even_in_its_neighbourhood():
    space = SearchSpace(study_with())
    beliefs = near(space, {"method.teacher": "shared"})
    assert beliefs["method.ema_decay"].spread is None
    assert beliefs["method.teacher"].center == "shared"


def played(store, trials, score):
    found = []
    for _ in range(trials):
        key, values = store.next()
        found.append(values)
        store.report(key, epoch=1, score=score(values))
        store.end(key, state="complete")
    return found


def sources(store):
    return [trial.system_attrs[SOURCE] for trial in store._study.trials]


def test_a_right_prior_keeps_proposing_and_a_wrong_one_falls_silent():
    def late_share(best):
        counts = Counter()
        for seed in range(5):
            config = study_with(LINE, sampler={"seed": seed})
            store = TrialStore(None, config, SearchSpace(config), total=40)
            played(store, 40, lambda values: -abs(values["optim.lr"] - best))
            counts.update(sources(store)[10:])
        return counts["prior"] / counts.total()

    assert late_share(0.9) > 3 * late_share(0.2)


def test_the_model_sees_what_a_distrusted_prior_proposed_as_the_bad_trials_that_they_are(monkeypatch):
    seen = []
    ask = optuna.samplers.TPESampler.sample_relative

    def spy(sampler, whole, trial, space):
        seen.append((trial.number, {one.number: one.value for one in whole.get_trials(deepcopy=False)}))
        return ask(sampler, whole, trial, space)

    monkeypatch.setattr(optuna.samplers.TPESampler, "sample_relative", spy)
    config = study_with(LINE, sampler={"startup_trials": 3})
    store = TrialStore(None, config, SearchSpace(config), total=60)
    played(store, 60, lambda values: -abs(values["optim.lr"] - 0.1))
    number, shown = seen[-1]
    assert number > 40
    of_prior = [shown[one] for one, source in enumerate(sources(store)[:number]) if source == "prior"]
    assert of_prior
    assert max(of_prior) < 0.5


def test_the_model_takes_over_as_trials_end():
    config = study_with(LINE)
    store = TrialStore(None, config, SearchSpace(config), total=200)
    played(store, 200, lambda values: -abs(values["optim.lr"] - 0.9))
    drawn = sources(store)
    assert drawn[:10].count("model") < drawn[10:20].count("model") + 5
    assert drawn[100:].count("model") > 60


def test_every_proposal_fits_the_space_conditions_included():
    config = study_with()
    space = SearchSpace(config)
    for values in played(TrialStore(None, config, space, total=60), 60, lambda values: values["optim.lr"]):
        assert space.check_point(values) == values


def test_a_resumed_study_proposes_what_the_unbroken_one_would_have(tmp_path):
    config = study_with(sampler={"startup_trials": 2})

    def score(values):
        return values["interpixel.alpha"]

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    unbroken = played(TrialStore(tmp_path / "a", config, SearchSpace(config), total=30), 16, score)
    broken = []
    for trials in (3, 6, 7):
        broken += played(TrialStore(tmp_path / "b", config, SearchSpace(config), total=30), trials, score)
    assert broken == unbroken


def test_the_sampler_can_be_pickled():
    config = study_with()
    sampler = build_sampler(config.sampler, SearchSpace(config))
    assert type(pickle.loads(pickle.dumps(sampler))) is type(sampler)


def test_without_a_prior_tpe_proposes_four_in_five_and_the_others_are_drawn_evenly():
    config = study_with({"optim.lr": {"uniform": [0, 1]}})
    store = TrialStore(None, config, SearchSpace(config), total=400)
    found = played(store, 400, lambda values: -abs(values["optim.lr"] - 0.9))
    assert set(sources(store)) == {"model", "even"}
    even = [values["optim.lr"] for values, source in zip(found, sources(store), strict=True) if source == "even"]
    assert stats.kstest(even, "uniform").pvalue > 0.01
    assert stats.binomtest(len(even), 400, 0.2).pvalue > 0.01
    model = [values["optim.lr"] for values, source in zip(found, sources(store), strict=True) if source == "model"]
    assert sum(abs(value - 0.9) < 0.1 for value in model) > 0.6 * len(model)


def test_a_trial_that_was_frozen_and_went_on_counts_once(tmp_path, monkeypatch):
    config = study_with(sampler={"name": "surrogate", "startup_trials": 30}, scheduler={"name": "freeze_thaw"})
    store, thawed, seen = TrialStore(tmp_path, config, SearchSpace(config), total=30), ["t0003"] * 5, []
    store.thaw = lambda begin: thawed.pop() if thawed and store.started == 10 else None
    for number in range(15):
        key, _ = store.next()
        store.report(key, epoch=1 + len(store.entry(key).scores), score=float(number))
        store.end(key, state="stopped")
    monkeypatch.setattr("ipix_tune.search.prior_sampler.evidence", lambda trials, **_: seen.append(trials))
    while not seen:  # an even draw does not ask
        store.end(store.next()[0], state="failed")
    scored = [trial for trial in seen[0] if trial.intermediate_values]
    assert thawed == []
    assert sorted(len(trial.intermediate_values) for trial in scored) == [1] * 9 + [6]
