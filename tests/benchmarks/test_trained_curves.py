import random

import numpy as np
import pytest
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import Ridge
from sklearn.metrics import d2_log_loss_score, r2_score
from sklearn.neural_network import MLPRegressor

from benchmarks.helpers import trained_curves
from benchmarks.helpers.trained_curves import (
    EPOCHS,
    EXPERTS_SEED,
    FLOOR,
    JUDGES,
    SEARCH,
    TrainedCurves,
    halves,
    is_classes,
    known,
    score,
    space_of,
)

MLP = {"solver": "sgd", "learning_rate_init": 0.01, "momentum": 0.5, "alpha": 1e-3, "width": 8}
KERNEL = {"learning_rate": "invscaling", "gamma": 0.01, "n_components": 40, "eta0": 1.0, "power_t": 0.5, "alpha": 1e-4}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_perceptrons_curve_is_that_of_one_uninterrupted_training(monkeypatch):
    inputs, targets, unseen, truth = halves("diabetes")
    monkeypatch.setattr(trained_curves, "BATCH", len(inputs))  # an order of samples that both have
    own = {key: value for key, value in MLP.items() if key != "width"}
    whole = MLPRegressor(hidden_layer_sizes=[8], batch_size=len(inputs), **own, random_state=3, max_iter=6)
    whole.fit(inputs, targets)
    found = TrainedCurves("mlp", "diabetes", 3).curve(MLP).scores
    assert found[5] == pytest.approx(100 * whole.score(unseen, truth))


@pytest.mark.parametrize("alpha", [0.01, 0.03])
def test_a_kernel_machines_curve_ends_near_the_ridge_regression_of_its_features(alpha):
    inputs, targets, unseen, truth = halves("diabetes")
    features = RBFSampler(gamma=0.01, n_components=40, random_state=3).fit(inputs)
    ridge = Ridge(alpha=alpha * len(inputs)).fit(features.transform(inputs), targets)
    found = TrainedCurves("kernel", "diabetes", 3).curve(KERNEL | {"alpha": alpha}).scores
    assert found[-1] == pytest.approx(100 * ridge.score(features.transform(unseen), truth), abs=0.5)


@pytest.mark.parametrize(
    ("family", "values"),
    [("mlp", MLP | {"learning_rate_init": 1.0, "width": 128}), ("kernel", KERNEL | {"eta0": 1e12})],
)
def test_a_training_that_diverges_scores_the_floor(family, values):
    found = TrainedCurves(family, "diabetes", 0).curve(values).scores
    assert len(found) == EPOCHS
    assert found[-1] == FLOOR


@pytest.mark.parametrize("name", list(trained_curves.DATA))
def test_the_score_is_the_explained_share_as_scikit_learn_has_it(name):
    rng, truth = np.random.default_rng(0), halves(name)[3]
    if is_classes(name):
        outputs = rng.dirichlet([1, 1], len(truth))
        outputs[:, 1] = 1 - outputs[:, 0]
        expected = d2_log_loss_score(truth, outputs)
    else:
        outputs = truth + rng.normal(0, 0.5, len(truth))
        expected = r2_score(truth, outputs)
    assert score(name, outputs) == pytest.approx(100 * expected)
    assert score(name, np.full_like(outputs, np.nan)) == FLOOR


@pytest.mark.parametrize("name", list(trained_curves.DATA))
def test_no_sample_is_both_trained_on_and_scored_on(name):
    inputs, _, unseen, _ = halves(name)
    assert not {row.tobytes() for row in inputs} & {row.tobytes() for row in unseen}


def test_a_training_goes_on_as_far_as_it_is_asked_and_is_not_repeated(monkeypatch):
    trained = []
    score = trained_curves.score
    monkeypatch.setattr(trained_curves, "score", lambda *given: trained.append(1) or score(*given))
    curves = TrainedCurves("kernel", "diabetes", 0)
    third = curves.curve(KERNEL).scores[2]
    assert len(trained) == 3
    assert curves.curve(dict(reversed(KERNEL.items()))).scores[:3][2] == third
    assert len(trained) == 3


def test_a_configuration_is_worth_the_mean_of_trainings_with_other_seeds():
    curves = TrainedCurves("kernel", "cancer", 0)
    asked = curves.curve(KERNEL)
    seeds = range(EXPERTS_SEED + 1, EXPERTS_SEED + 1 + JUDGES)
    others = [TrainedCurves("kernel", "cancer", seed).curve(KERNEL).scores[-1] for seed in seeds]
    assert curves.worth(asked) == pytest.approx(sum(others) / JUDGES)
    assert asked.scores[-1] not in others


def test_what_an_expert_knows_is_ordered_by_what_it_scores(monkeypatch):
    monkeypatch.setattr(trained_curves, "KNOWN", 6)
    known.cache_clear()
    found = known("kernel", "diabetes")
    known.cache_clear()
    curves = TrainedCurves("kernel", "diabetes", trained_curves.EXPERTS_SEED)
    scores = [curves.curve(values).scores[-1] for values in found]
    assert scores == sorted(scores)
    assert scores[0] < scores[-1]


@pytest.mark.parametrize("family", list(SEARCH))
def test_the_same_configuration_and_seed_have_the_same_curve_and_another_seed_has_another(family):
    values = space_of(family).sample(random.Random(2))
    first, again, other = (list(TrainedCurves(family, "cancer", seed).curve(values).scores) for seed in (0, 0, 1))
    assert first == again
    assert first != other
