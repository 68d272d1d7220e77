import itertools
import math

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from analysis.stats.sensitivity.anova_basis import Basis
from analysis.stats.sensitivity.cross_validation import check
from analysis.stats.sensitivity.gp_likelihood import LEVEL_VARIANCE, Model, factor, inverted
from analysis.stats.sensitivity.sobol import indices
from analysis.stats.sensitivity.surrogate import fit
from analysis.stats.sensitivity.surrogate_data import GROWTH, LEAST, MOST, gather, sample
from tests.analysis.made import END, MIXED, RUNGS, UNIT, dimension, draw, make_study, study_of_function, without_rungs

THREE = {"a": UNIT, "b": UNIT, "c": UNIT}


def signal(values):
    return 50 + 4 * math.log10(values["lr"]) + 30 * (values.get("decay", 0.95) - 0.95) + (values["teacher"] == "ema")


def ishigami(values):
    a, b, c = (math.pi * (2 * values[name] - 1) for name in "abc")
    return math.sin(a) + 7 * math.sin(b) ** 2 + 0.1 * c**4 * math.sin(a)


@pytest.fixture(scope="module")
def study():
    return study_of_function(signal, MIXED, 40)


@pytest.fixture(scope="module")
def surrogate(study):
    return fit(study)


def naive_covariance(data, model, hyper):
    """The module's equations, one pair of rows after the other."""
    rows, basis = data.rows, data.basis
    count = len(rows.scores)
    found = np.zeros((count, count))
    for p in range(count):
        for q in range(count):
            i, j = rows.who[p], rows.who[q]
            near, same = min(rows.distance[p], rows.distance[q]), i == j
            k = [(one[i] * v * one[j]).sum() for one, v in zip(rows.singles, hyper.spectra, strict=True)]
            end = sum(s * one for s, one in zip(hyper.s, k, strict=True))
            for term in basis.terms:
                if len(term.axes) == 2:
                    x, y = term.axes
                    end += hyper.interaction[x, y] * hyper.s[x] * hyper.s[y] * k[x] * k[y]
            way = sum(u * one for u, one in zip(hyper.u, k, strict=True))
            found[p, q] = LEVEL_VARIANCE + end + near * (hyper.mean_drift + way)
            found[p, q] += same * (hyper.run + near * hyper.run_drift) + (p == q) * hyper.noise
    return found


@pytest.fixture(scope="module")
def small():
    data = gather(study_of_function(signal, MIXED, 14))
    model = Model(data.basis, data.rows)
    theta = model.center + 0.4 * np.random.default_rng(1).standard_normal(len(model.center))
    return data, model, theta


def test_the_likelihood_is_that_of_the_equations(small):
    data, model, theta = small
    expected = multivariate_normal(cov=naive_covariance(data, model, model.hyper(theta))).logpdf(data.rows.scores)
    assert model.log_posterior(theta) - model.log_prior(theta) == pytest.approx(expected, abs=1e-6)


def test_the_inverse_from_the_factor_is_the_inverse():
    half = np.random.default_rng(0).normal(size=(30, 60))
    covariance = half @ half.T
    np.testing.assert_allclose(inverted(factor(covariance.copy())), np.linalg.inv(covariance), rtol=1e-9, atol=1e-12)


def test_a_singular_factor_has_no_inverse():
    with pytest.raises(np.linalg.LinAlgError, match="element 2"):
        inverted(np.diag([1.0, 0.0, 1.0]))


def test_the_gradient_is_that_of_finite_differences(small):
    _, model, theta = small
    value, slope = model.with_gradient(theta)
    assert value == pytest.approx(model.log_posterior(theta))
    steps = 1e-5 * np.eye(len(theta))
    expected = [(model.log_posterior(theta + one) - model.log_posterior(theta - one)) / 2e-5 for one in steps]
    assert slope == pytest.approx(np.array(expected), abs=1e-4)


def test_what_the_covariance_has_besides_level_end_and_run_is_the_rest(small):
    data, model, theta = small
    hyper = model.hyper(theta)
    features = data.basis.joined(data.rows.singles)[data.rows.who]
    ends = features * model.prior_variances(hyper) @ features.T
    whole = LEVEL_VARIANCE + ends + hyper.run * data.rows.same + model.other_covariance(hyper)
    assert model.covariance(hyper) == pytest.approx(whole, abs=1e-8)


def test_the_same_study_gives_the_same_draws(study, surrogate):
    again = fit(study)
    assert (again.weights == surrogate.weights).all()
    assert (again.ends == surrogate.ends).all()


def test_scores_of_which_less_is_better_give_the_mirrored_surrogate(study, surrogate):
    curves = [{epoch: -score for epoch, score in trial.curve.items()} for trial in study.trials]
    mirrored = fit(make_study(MIXED, [trial.values for trial in study.trials], curves, mode="min"))
    configs = [trial.values for trial in study.trials]
    assert mirrored.at(configs) == pytest.approx(-surrogate.at(configs))


def test_a_stopped_trial_is_not_taken_for_bad_at_full_budget():
    """Large tau only makes curves slow: early scores are far below, final ones are not."""
    study = study_of_function(lambda values: 50 + 4 * values["a"], THREE, 60, gap=lambda values: 4 + 6 * values["b"])
    last = {True: [], False: []}
    for trial in study.trials:
        last[trial.values["b"] > 0.5].append(trial.score)
    assert np.mean(last[True]) < np.mean(last[False]) - 1
    surrogate = fit(study)
    slow = surrogate.at([{"a": 0.5, "b": 0.9, "c": 0.5}, {"a": 0.5, "b": 0.1, "c": 0.5}])
    low, high = np.quantile(slow[:, 0] - slow[:, 1], [0.025, 0.975])
    assert low < 0 < high
    assert high - low < 2


def test_what_a_stopped_run_would_have_come_to_is_inside_its_interval():
    inside = []
    for seed in range(2):
        study = study_of_function(signal, MIXED, 40, seed=seed, noise=0.2)
        surrogate = fit(study)
        truth = np.array([signal(trial.values) for trial in surrogate.trials])
        stopped = np.array([trial.state == "stopped" for trial in surrogate.trials])
        low, high = np.quantile(surrogate.ends, [0.005, 0.995], axis=0)
        slack = 3 * 0.2
        inside += list(((low - slack < truth) & (truth < high + slack))[stopped])
    assert np.mean(inside) > 0.95


def test_the_indices_of_the_ishigami_function_are_the_analytic_ones():
    """a = 7, b = 0.1: Ishigami and Homma (1990)."""
    study = without_rungs(study_of_function(ishigami, THREE, 150, noise=0.05, halving=False))
    found = indices(fit(study))
    assert [found.first[name].value for name in "abc"] == pytest.approx([0.314, 0.442, 0.0], abs=0.06)
    assert [found.total[name].value for name in "abc"] == pytest.approx([0.558, 0.442, 0.244], abs=0.06)
    assert [found.shapley[name].value for name in "abc"] == pytest.approx([0.436, 0.442, 0.122], abs=0.06)


def test_on_trials_that_all_ran_to_the_end_main_effects_agree_with_optunas_fanova():
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = without_rungs(study_of_function(lambda v: 6 * v["a"] + 3 * v["b"], THREE, 120, halving=False))
    theirs = optuna.create_study()
    uniform = optuna.distributions.FloatDistribution(0, 1)
    for trial in study.trials:
        theirs.add_trial(
            optuna.trial.create_trial(
                params=trial.values, distributions=dict.fromkeys("abc", uniform), value=trial.score
            )
        )
    expected = optuna.importance.get_param_importances(
        theirs, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
    )
    found = indices(fit(study)).first
    for name in "abc":
        assert found[name].value == pytest.approx(expected[name], abs=0.08)


def test_a_parameter_that_does_nothing_is_called_dead_and_one_that_does_matters(surrogate):
    found = indices(surrogate)
    assert found.verdict("tau") == "dead"
    assert found.verdict("lr") == "matters"


def test_shapley_effects_add_up_to_one_and_lie_between_first_order_and_total(surrogate):
    found = indices(surrogate)
    assert sum(one.value for one in found.shapley.values()) == pytest.approx(1)
    for name, one in found.shapley.items():
        assert found.first[name].value - 1e-9 <= one.value <= found.total[name].value + 1e-9


def test_too_few_trials_have_no_surrogate():
    assert fit(study_of_function(signal, MIXED, LEAST - 1)) is None


def test_scores_that_are_all_alike_have_no_surrogate():
    study = study_of_function(lambda values: 40.0, THREE, 20, noise=0, halving=False)
    assert fit(study) is None


def test_without_a_trial_of_full_length_there_is_no_surrogate():
    study = study_of_function(signal, MIXED, 20)
    curves = [{3: trial.curve[3]} for trial in study.trials]
    assert fit(make_study(MIXED, [trial.values for trial in study.trials], curves)) is None


def test_a_control_outside_the_searched_range_is_left_out():
    study = study_of_function(signal, MIXED, 20)
    configs = [*(trial.values for trial in study.trials), {"lr": 0.0, "tau": 0.5, "teacher": "shared"}]
    curves = [*(trial.curve for trial in study.trials), dict.fromkeys(RUNGS, 10.0)]
    assert len(gather(make_study(MIXED, configs, curves)).trials) == 20


def test_a_parameter_that_never_varies_is_named():
    study = study_of_function(lambda values: 40 + values["a"], THREE, 20)
    configs = [{**trial.values, "c": 0.5} for trial in study.trials]
    data = gather(make_study(THREE, configs, [trial.curve for trial in study.trials]))
    assert data.fixed == ("c",)
    assert data.basis.names == ("a", "b")


def test_a_large_study_is_thinned_at_random_and_keeps_all_rungs_of_a_trial():
    data = gather(study_of_function(signal, MIXED, MOST + 50))
    assert len(data.trials) == MOST
    assert [trial.number for trial in data.trials] != list(range(MOST))
    for i, trial in enumerate(data.trials):
        assert (data.rows.who == i).sum() == len(trial.curve)


def many(count, *, running=0, shift=0.0):
    """Trials that ended in the order of their numbers, but for the last ``running``."""
    curves = [{END: shift + 0.1 * number} for number in range(count)]
    states = ["complete"] * (count - running) + ["running"] * running
    return make_study(THREE, [{}] * count, curves, states=states).trials


def numbers(trials):
    return {trial.number for trial in trials}


def test_up_to_the_limit_every_trial_is_in_the_sample():
    trials = many(MOST, running=7)
    assert sample(trials) == (trials, MOST)


def test_one_trial_more_changes_the_sample_only_where_the_study_has_grown_by_its_factor():
    samples = [sample(many(count)) for count in range(MOST + 1, 1002, 1)]
    pools = [pool for _, pool in samples]
    assert sorted(set(pools)) == pools_up_to(1001)
    for (before, pool), (after, grown) in itertools.pairwise(samples):
        assert (numbers(before) == numbers(after)) == (pool == grown)
        assert len(numbers(before) & numbers(after)) > 0.6 * MOST
        assert max(numbers(after)) < grown


def pools_up_to(count):
    found = [MOST]
    while int(found[-1] * GROWTH) <= count:
        found.append(int(found[-1] * GROWTH))
    return found


def test_the_sample_does_not_look_at_scores_and_takes_trials_that_run_only_where_it_must():
    assert numbers(sample(many(400))[0]) == numbers(sample(many(400, shift=9.0))[0])
    assert max(numbers(sample(many(400, running=150))[0])) < 250
    assert len(sample(many(300, running=200))[0]) == MOST


def test_the_sample_is_drawn_evenly_from_its_pool():
    chosen = np.array(sorted(numbers(sample(many(954))[0])))
    counts = np.bincount(chosen * 4 // 954, minlength=4)
    assert counts.min() > MOST / 4 - 3 * np.sqrt(MOST / 4)


def test_without_a_scheduler_only_the_last_level_of_a_trial_counts():
    study = study_of_function(signal, MIXED, 20, halving=False)
    assert gather(without_rungs(study)).levels == (END,)


def test_integers_and_many_choices_are_modelled():
    space = {"k": dimension("int", low=1, high=5), "c": dimension("choice", choices=list("wxyz")), "a": UNIT}
    study = study_of_function(lambda v: 3 * v["k"] + 4 * (v["c"] == "x"), space, 50)
    found = indices(fit(study))
    truth = {"k": 9 * 2, "c": 16 * 3 / 16, "a": 0}
    for name, variance in truth.items():
        assert found.first[name].value == pytest.approx(variance / 21, abs=0.08)


def test_cross_validation_trusts_a_signal(surrogate):
    found = check(surrogate)
    assert found.usable
    assert found.error < found.mean_error / 3
    assert found.covered > 0.85


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cross_validation_does_not_trust_noise(seed):
    study = study_of_function(lambda values: 40.0, THREE, 30, noise=1.0, seed=seed)
    assert not check(fit(study)).usable


def test_seeds_of_one_configuration_are_left_out_together():
    """Runs of one configuration are alike and the configurations are not: only a leak would foretell them."""
    rng = np.random.default_rng(0)
    space = {"a": dimension("choice", choices=[f"c{i}" for i in range(8)])}
    configs = [{"a": f"c{i}"} for i in range(8) for _ in range(3)]
    offsets = rng.normal(0, 5, 8)
    curves = [{END: float(offsets[i] + rng.normal(0, 0.1))} for i in range(8) for _ in range(3)]
    study = make_study(space, configs, curves, seeds=[0, 1, 2] * 8)
    assert not check(fit(study)).usable


def test_the_basis_draws_nothing_from_the_scores(study):
    rng = np.random.default_rng(3)
    basis = Basis(MIXED)
    features = basis.features([draw(MIXED, rng) for _ in range(4000)])
    assert np.abs(features.mean(axis=0)).max() < 0.2
