import math
from dataclasses import replace

import numpy as np
import pytest

from analysis.stats.sensitivity.rung_noise import rung_noise
from analysis.stats.sensitivity.surrogate import fit
from analysis.wording.rungs import say_rung_noise
from tests.analysis.made import END, UNIT, make_study, study_of_function

SPACE = {"a": UNIT}
NOISE = {3: 16.6, 9: 5.0, END: 2.0}
"""Standard deviation of seeds by epoch; configurations differ by `CONFIGURATIONS`."""
CONFIGURATIONS = 12.7


def noisy(count, *, seeds=1, noise=NOISE, seed=0, stopped=False):
    """``count`` configurations with ``seeds`` seeds each."""
    rng = np.random.default_rng(seed)
    configs, curves, used = [], [], []
    for level in rng.normal(0, CONFIGURATIONS, count):
        values = {"a": float(rng.uniform())}
        for one in range(seeds):
            curve = {epoch: float(40 + level + rng.normal(0, apart)) for epoch, apart in noise.items()}
            configs.append(values)
            curves.append({3: curve[3]} if stopped and one == 0 and level < 0 else curve)
            used.append(one)
    return make_study(SPACE, configs, curves, seeds=used)


def test_the_share_is_the_seeds_variance_over_that_of_all_trials():
    study = noisy(20, seeds=4)
    found = rung_noise(study, study)
    groups = {}
    for trial in study.trials:
        groups.setdefault(trial.settings, []).append(trial.curve[3])
    within = np.mean([np.var(group, ddof=1) for group in groups.values()])
    everything = np.var([trial.curve[3] for trial in study.trials], ddof=1)
    assert found.epoch == 3
    assert found.share == pytest.approx(within / everything)
    assert found.low < found.share < found.high
    assert (found.runs, found.configs, found.count) == (80, 20, 80)


def test_a_rung_that_ranks_mostly_luck_names_the_grace_period_to_set():
    study = noisy(80, seeds=4, noise=NOISE | {3: 20.0})
    found = rung_noise(study, study)
    text = say_rung_noise(found, study)
    assert found.low > 0.5
    assert "This rung is mostly noise: set scheduler.grace_epochs to 9, where the share of luck is" in text
    assert f"is {100 * found.better.share:.0f} % (95 % interval {100 * found.better.low:.0f} to" in text
    assert f"{100 * found.share:.0f} % of the variance that this rung ranks is luck" in text


def test_a_rung_whose_interval_reaches_below_one_half_is_not_called_mostly_noise():
    study = noisy(12, seeds=3)
    found = rung_noise(study, study)
    text = say_rung_noise(found, study)
    assert found.low < 0.5 < found.share
    assert "mostly noise" not in text
    assert "Whether that is most of it is not known. With scheduler.grace_epochs: 9 the share of luck would be" in text


@pytest.mark.parametrize("stopped", [False, True])
def test_the_interval_of_the_share_at_the_advised_epoch_holds_the_truth(stopped):
    truth = NOISE[9] ** 2 / (NOISE[9] ** 2 + CONFIGURATIONS**2)
    held = given = 0
    for seed in range(100):
        found = rung_noise(noisy(14, stopped=stopped, seed=seed), noisy(5, seeds=4, seed=1000 + seed))
        if found.better is not None and found.better.epoch == 9:
            given += 1
            held += found.better.low <= truth <= found.better.high
    assert given > 50
    assert held >= 0.92 * given


def test_where_a_scheduler_stopped_trials_the_later_rung_is_judged_by_what_all_differ_by():
    search, confirmation = noisy(60, stopped=True), noisy(4, seeds=8, seed=1)
    found = rung_noise(search, confirmation)
    assert found.runs == 32
    assert found.count == 60
    assert found.better.epoch == 9


def test_a_rung_whose_trials_differ_by_more_than_seeds_do_is_not_called_noise():
    study = noisy(20, seeds=3, noise={3: 3.0, 9: 2.0, END: 2.0})
    found = rung_noise(study, study)
    assert not found.mostly
    assert "mostly noise" not in say_rung_noise(found, study)


def test_where_no_later_epoch_is_better_it_says_so_and_names_no_number():
    study = noisy(60, seeds=3, noise={3: 30.0, 9: 30.0, END: 30.0})
    found = rung_noise(study, study)
    assert found.better is None
    assert "run without a scheduler" in say_rung_noise(found, study)
    assert "grace_epochs" not in say_rung_noise(found, study)


def test_without_repeated_seeds_the_surrogates_noise_is_taken_and_said_to_be():
    study = study_of_function(lambda values: 50 + 9 * values["a"], SPACE, 40, noise=1.0, halving=False)
    found = rung_noise(study, study, fit(study))
    assert found.seeds == pytest.approx(math.sqrt(2), rel=0.35)  # of the run and of the epoch
    assert "what the surrogate leaves unexplained" in say_rung_noise(found, study)


def test_without_either_it_says_that_it_is_not_known():
    study = noisy(20)
    assert rung_noise(study, study) is None
    assert "is not known" in say_rung_noise(None, study)
    assert say_rung_noise(None, replace(study, rungs=())) == ""


def test_confirming_runs_of_another_length_say_nothing_of_a_rung():
    study, longer = noisy(20), noisy(4, seeds=5)
    longer = replace(longer, trials=tuple(replace(one, epochs=2 * END) for one in longer.trials))
    assert rung_noise(study, longer) is None


def test_what_a_seed_does_to_all_configurations_alike_is_no_luck_between_trials_of_one_seed():
    """A search with one seed, a confirmation whose seeds move all its configurations together."""
    rng = np.random.default_rng(0)
    together, own = rng.normal(0, 8, 6), rng.normal(0, 2, (5, 6))
    scores = 50 + together + own
    configs = [{"a": 0.1 * config} for config in range(5) for _ in range(6)]
    curves = [{3: float(score), END: float(score) + 5} for score in scores.ravel()]
    confirmation = make_study(SPACE, configs, curves, seeds=list(range(6)) * 5)
    search = noisy(20, noise={3: 0.1, END: 0.1})
    found = rung_noise(search, confirmation)
    centered = scores - scores.mean(axis=0) - scores.mean(axis=1, keepdims=True) + scores.mean()
    assert found.seeds == pytest.approx(math.sqrt((centered**2).sum() / (4 * 5)))
    assert found.own
    assert "what a seed does to all configurations alike is left out" in say_rung_noise(found, search)
    several = noisy(20, seeds=2, noise={3: 0.1, END: 0.1})
    assert not rung_noise(several, confirmation).own


def test_the_shares_interval_knows_how_few_trials_and_seeds_it_stands_on():
    """Share of 1/2 in truth, 12 trials and 5 configurations of 4 seeds."""
    held = 0
    for seed in range(100):
        noise = {3: CONFIGURATIONS, END: 2.0}
        found = rung_noise(noisy(12, noise=noise, seed=seed), noisy(5, seeds=4, noise=noise, seed=1000 + seed))
        held += found.low <= 0.5 <= found.high
    assert held >= 92
