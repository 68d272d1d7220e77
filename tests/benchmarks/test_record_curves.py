import random

import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.neural_network import MLPRegressor

from benchmarks import record_curves
from benchmarks.record_curves import EPOCHS, FLOOR, SEARCH, SEEDS, TREES, curve, halves, main, read_recorded, space_of
from trainers.errors import UserError

MLP = {"solver": "sgd", "learning_rate_init": 0.01, "momentum": 0.5, "alpha": 1e-3, "width": 8}
BOOSTING = {
    "learning_rate": 0.1, "max_leaf_nodes": 8, "min_samples_leaf": 5, "l2_regularization": 0.1, "max_features": 0.5,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_perceptrons_curve_is_that_of_one_uninterrupted_training(monkeypatch):
    inputs, targets, unseen, truth = halves("diabetes")
    monkeypatch.setattr(record_curves, "BATCH", len(inputs))  # an order of samples that both have
    own = {key: value for key, value in MLP.items() if key != "width"}
    whole = MLPRegressor(hidden_layer_sizes=[8], batch_size=len(inputs), **own, random_state=3, max_iter=6)
    whole.fit(inputs, targets)
    assert curve("mlp", "diabetes", MLP, 3)[5] == pytest.approx(100 * whole.score(unseen, truth))


def test_a_boosted_curve_is_that_of_shorter_trainings():
    inputs, targets, unseen, truth = halves("diabetes")
    shorter = HistGradientBoostingRegressor(
        **BOOSTING, max_iter=3 * TREES, early_stopping=False, random_state=3
    ).fit(inputs, targets)  # fmt: skip
    found = curve("boosting", "diabetes", BOOSTING, 3)
    assert len(found) == EPOCHS
    assert found[2] == pytest.approx(100 * shorter.score(unseen, truth))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_training_that_diverges_scores_the_floor():
    assert curve("mlp", "diabetes", MLP | {"learning_rate_init": 1.0, "width": 128}, 0)[-1] == FLOOR


@pytest.mark.parametrize("name", list(record_curves.DATA))
def test_no_sample_is_both_trained_on_and_scored_on(name):
    inputs, _, unseen, _ = halves(name)
    assert not {row.tobytes() for row in inputs} & {row.tobytes() for row in unseen}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_recorded_configurations_are_answered_by_their_own_curves_with_one_of_the_seeds(tmp_path, monkeypatch):
    monkeypatch.setattr(record_curves, "DATA", {"diabetes": record_curves.DATA["diabetes"]})
    monkeypatch.setattr(record_curves, "EPOCHS", 2)
    main(tmp_path, configurations=5)
    for family in SEARCH:
        curves, rng = read_recorded(tmp_path, family, "diabetes"), random.Random(0)
        drawn = [space_of(family).sample(rng) for _ in range(5)]
        own = [{curve(family, "diabetes", values, seed) for seed in range(SEEDS)} for values in drawn]
        assert max(map(len, own)) == SEEDS
        assert all(curves.curve(values).scores in scores for values, scores in zip(drawn, own, strict=True))


def test_a_table_that_was_not_recorded_is_refused_with_the_command_that_records_it(tmp_path):
    with pytest.raises(UserError, match=r"mlp-digits.parquet is missing.*python -m benchmarks.record_curves"):
        read_recorded(tmp_path, "mlp", "digits")
