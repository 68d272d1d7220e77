import math
from dataclasses import replace

import numpy as np
import pytest

from analysis.ingest.tables import build_tables
from analysis.stats.sensitivity.stopped_early import (
    measured_noise,
    own_noise_at,
    seed_noise,
    seed_noise_at,
    stopped_early,
)
from analysis.stats.sensitivity.surrogate import fit
from analysis.stats.study import from_tables
from analysis.wording.search import say_seeds
from analysis.wording.sensitivity import say_seed_noise
from tests.analysis.confirmations import BARE, TOP, confirm_run, run
from tests.analysis.made import END, UNIT, make_study, study_of_function
from tests.analysis.stats.test_stats import full, runs_of, trial

TWO = {"a": UNIT, "b": UNIT}


def test_a_slow_run_that_would_have_won_was_stopped_too_early_and_a_bad_one_was_not():
    """b makes curves slow by a known amount; one slow run with the best a was stopped at the first rung."""
    study = study_of_function(lambda v: 50 + 4 * v["a"], TWO, 50, gap=lambda v: 3 + 6 * v["b"], halving=False)
    kept = [one for one in study.trials if one.values["a"] < 0.8]
    slow, bad = {"a": 0.95, "b": 0.9}, {"a": 0.05, "b": 0.1}
    configs = [one.values for one in kept] + [slow, bad]
    curves = [one.curve for one in kept] + [{3: 53.8 - 8.4}, {3: 50.2 - 3.6}]
    surrogate = fit(make_study(TWO, configs, curves))
    first, last = stopped_early(surrogate)
    assert (first.number, last.number) == (len(kept), len(kept) + 1)
    assert first.chance > 0.5
    assert last.chance < 0.05
    assert first.end[1] <= 53.8 <= first.end[2]


def test_without_a_trial_of_full_length_no_stop_is_judged():
    study = study_of_function(lambda v: 50 + 4 * v["a"], TWO, 20, halving=False)
    surrogate = fit(study)
    states = ["interrupted"] * len(study.trials)
    again = make_study(TWO, [one.values for one in study.trials], [one.curve for one in study.trials], states=states)
    assert stopped_early(replace(surrogate, study=again)) == ()


def test_seed_noise_is_pooled_over_configurations_with_several_seeds():
    ends = [[40.0, 41.0, 42.0], [50.0, 50.6], [7.0]]
    configs = [{"a": float(i), "b": 0.0} for i, group in enumerate(ends) for _ in group]
    curves = [{9: 1.0, END: score} for group in ends for score in group]
    seeds = [seed for group in ends for seed in range(len(group))]
    found = {one.epoch: one for one in seed_noise(make_study(TWO, configs, curves, seeds=seeds))}
    expected = math.sqrt((2 * np.var(ends[0], ddof=1) + np.var(ends[1], ddof=1)) / 3)
    assert found[END].value == pytest.approx(expected)
    assert (found[END].configs, found[END].runs) == (2, 5)
    assert found[END].low < expected < found[END].high
    assert found[9].value == 0


def test_with_one_seed_each_there_is_no_seed_noise():
    study = study_of_function(lambda v: 50 + 4 * v["a"], TWO, 5)
    assert seed_noise(study) == ()


def test_the_interval_of_the_seed_noise_covers_the_truth_at_its_rate():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        configs = [{"a": float(i), "b": 0.0} for i in range(4) for _ in range(3)]
        curves = [{END: float(10 * i + rng.normal(0, 0.5))} for i in range(4) for _ in range(3)]
        (found,) = seed_noise(make_study(TWO, configs, curves, seeds=[0, 1, 2] * 4))
        hits += found.low <= 0.5 <= found.high
    assert 0.92 <= hits / 400 <= 0.98


@pytest.mark.parametrize("count", [3, 5])
def test_it_covers_the_truth_where_runs_that_share_a_seed_are_alike(count):
    """The seed makes nine tenths of the noise; five configurations ran with the same seeds."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        shared = rng.normal(0, math.sqrt(0.9), count)
        configs = [{"a": float(i), "b": 0.0} for i in range(5) for _ in range(count)]
        curves = [{END: 10 * i + one + rng.normal(0, math.sqrt(0.1))} for i in range(5) for one in shared]
        found = seed_noise_at(make_study(TWO, configs, curves, seeds=[*range(count)] * 5), END)
        hits += found.low <= 1 <= found.high
    assert 0.92 <= hits / 400 <= 0.99


def test_what_all_configurations_share_of_a_seed_is_told_apart_from_each_runs_own():
    """The truth is 0.9 shared and 0.1 own; a crossed design of 6 configurations and 5 seeds."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        shared = rng.normal(0, math.sqrt(0.9), 5)
        configs = [{"a": float(i), "b": 0.0} for i in range(6) for _ in range(5)]
        curves = [{END: 10 * i + one + rng.normal(0, math.sqrt(0.1))} for i in range(6) for one in shared]
        own = own_noise_at(make_study(TWO, configs, curves, seeds=[*range(5)] * 6), END)
        hits += own.low <= math.sqrt(0.1) <= own.high
    assert 0.90 <= hits / 200 <= 0.99


def test_the_page_gives_the_share_of_the_seeds_variance_that_pairing_removes():
    configs = [{"a": float(i), "b": 0.0} for i in range(3) for _ in range(3)]
    curves = [{END: 10.0 * i + 2 * j + 0.1 * (i == j)} for i in range(3) for j in range(3)]
    study = make_study(TWO, configs, curves, seeds=[0, 1, 2] * 3)
    said = say_seed_noise(seed_noise(study), None, own_noise_at(study, END))
    assert " 100 % of this variance is what a seed does to all configurations alike" in said
    assert "own standard deviation is 0.07 " in said  # the root of 2 * 0.1**2 over 4 degrees of freedom


def test_without_shared_seeds_nothing_is_said_to_be_shared():
    configs = [{"a": float(i), "b": 0.0} for i in range(3) for _ in range(2)]
    curves = [{END: 10.0 * i + j} for i in range(3) for j in range(2)]
    study = make_study(TWO, configs, curves, seeds=[0, 1, 2, 3, 4, 5])
    assert own_noise_at(study, END) is None
    assert "alike" not in say_seed_noise(seed_noise(study), None, None)


def test_a_provisional_page_says_how_far_this_studys_own_seeds_differ():
    trials = [trial(number, full(40.0 + number), **{"interpixel.tau": 0.5}) for number in range(3)]
    trials += [trial(3, full(60.0))]
    runs = runs_of(trials, seeds=[0, 1, 2, 0])
    tables = build_tables(runs)
    text = say_seeds(from_tables(tables), tables)
    assert "differ by 1.00 in this study" in text
    assert "n = 3 runs of 1 configuration)" in text


def test_confirming_runs_say_it_before_the_searchs_do():
    runs = [run("t0000", 0, phase="search", score=60.0)]
    runs += [confirm_run(number, TOP, number, 40.0 + number) for number in range(3)]
    runs += [confirm_run(3 + number, BARE, number, 39.0) for number in range(2)]
    tables = build_tables(runs)
    assert measured_noise(from_tables(tables), tables).runs == 5


def test_where_no_seed_was_repeated_the_page_says_whose_figure_it_gives():
    tables = build_tables(runs_of([trial(0, full(40.0)), trial(1, full(41.0))]))
    text = say_seeds(from_tables(tables), tables)
    assert "is not measured" in text
    assert "UniMatch" in text
