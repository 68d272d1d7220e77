"""The races of the benchmark on prediction intervals."""

import numpy as np

from benchmarks.prediction import FIRST, SEEDS, inside, race


def test_a_race_ends_and_its_leader_has_intervals_that_are_asked_for_both():
    scores = race(np.random.default_rng(0), 3, 0.1)
    assert all(FIRST <= len(of_arm) <= SEEDS for of_arm in scores.values())
    assert set(inside(np.random.default_rng(1), scores)) <= {True, False}


def test_a_prediction_that_is_far_off_is_told():
    low = {arm: {seed: 50.0 + seed / 10 for seed in range(5)} for arm in ("arm 0", "arm 1")}
    assert inside(np.random.default_rng(0), low) == (False, False)
