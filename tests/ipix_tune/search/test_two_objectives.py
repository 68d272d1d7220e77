import io

import optuna
import pytest
from ray.tune.utils import flatten_dict
from rich.console import Console

from analysis.stats.objective import Objective
from ipix_tune.config.load_study import load
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.execution.progress_table import Display, ProgressTable, TrialRow
from ipix_tune.search.rank_transform import RankedSampler
from ipix_tune.search.ray_searcher import TrialStoreSearcher
from ipix_tune.search.samplers import build_sampler
from ipix_tune.search.trial_message import TrialMessage
from ipix_tune.search.trial_store import TrialStore
from ipix_tune.study.export import choose, export_best
from ipix_tune.study.plan import make_plan, render
from ipix_tune.study.simulation.simulator import Simulation, SimulationError
from tests.ipix_tune.studies import base, row, study_with, tables_of, write
from trainers.common.errors import ConfigError
from trainers.common.yaml_file import load as load_config
from trainers.config import TrainConfig

PRICE = Objective(metric="time/step_ms", mode="min")
BOTH = {"metric": "val/miou", "mode": "max", "second_objective": {"metric": "time/step_ms", "mode": "min"}}


def study(**changes):
    return StudyConfig.model_validate({**base(), "objective": BOTH, **changes})


def trial_store(folder, config=None, total=40):
    config = config or study()
    return TrialStore(folder, config, SearchSpace(config), total=total)


# the study file


def test_a_second_objective_is_minimised_unless_it_says_otherwise(tmp_path):
    file = write(tmp_path, {**base(), "objective": {"second_objective": {"metric": "memory/peak_mib"}}})
    assert load(file).objective.second_objective.mode == "min"


def test_a_study_that_was_begun_when_it_was_called_against_has_the_same_objectives(tmp_path):
    old = {**BOTH, "against": BOTH["second_objective"]}
    del old["second_objective"]
    file = write(tmp_path, {**base(), "objective": old})
    assert load(file) == load(write(tmp_path, {**base(), "objective": BOTH}))
    file = write(tmp_path, {**base(), "objective": old})
    assert load(file, ["objective.second_objective=null"]).objective.metrics == ("val/miou",)
    assert load(file, ["objective.against.mode=max"]).objective.second_objective.mode == "max"


@pytest.mark.parametrize("metric", ["time/step_ms", "memory/peak_mib", "val/student/miou", "train/loss"])
def test_what_a_trainer_reports_can_be_the_second_objective(tmp_path, metric):
    assert load(write(tmp_path, base()), [f"objective.second_objective.metric={metric}"]).objective.metrics[1] == metric


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["objective.second_objective.metric=time/step"], 'did you mean "time/step_ms"'),
        (["objective.second_objective.metric=val/miou"], "is objective.metric too"),
        (["objective.second_objective.metric=final/miou"], "a search must not see"),
        (["objective.second_objective.metric=time/step_ms", "sampler.name=cmaes"], "CMA-ES has one objective"),
        (
            ["objective.second_objective.metric=time/step_ms", "warm_start=[studies/old]"],
            "their rank in one objective",
        ),
        (
            ["objective.second_objective.metric=time/step_ms", "budget.no_improvement={trials: 3}"],
            "it watches one objective",
        ),
        (["objective.second_objective.metric=time/step_ms", "budget.stop=regret"], "left to gain in one objective"),
    ],
)
def test_what_does_not_go_with_it_is_refused_with_the_reason_and_the_key(tmp_path, overrides, said):
    with pytest.raises(ConfigError, match=said) as caught:
        load(write(tmp_path, base()), overrides)
    assert any(str(caught.value).startswith(f"--set {one}: ") for one in overrides)


def test_the_plan_names_both_objectives_and_by_which_trials_are_stopped():
    console = Console(file=io.StringIO(), width=160)
    console.print(render(make_plan(study())))
    shown = console.file.getvalue()
    assert "max val/miou against min time/step_ms, last epoch" in shown
    assert "trials are stopped by val/miou alone" in shown


def test_a_simulation_is_refused_since_its_curves_have_one_objective():
    with pytest.raises(SimulationError, match=r"--set objective\.second_objective=null"):
        Simulation(study(), None, max_epochs=9, concurrent=2)


# the trial store


def ended(store, *, state="complete", scores=((1, 10.0), (2, 20.0)), seconds=((1, 5.0), (2, 6.0))):
    key, _ = store.next()
    for (epoch, score), (_, second) in zip(scores, seconds, strict=True):
        store.report(key, epoch=epoch, score=score, second_score=second)
    store.end(key, state=state)
    return store._study.trials[-1]


def test_a_complete_trial_is_told_with_the_last_values_of_both(tmp_path):
    trial = ended(trial_store(tmp_path))
    assert trial.values == [20.0, 6.0]
    assert trial.intermediate_values == {1: 10.0, 2: 20.0}


def test_a_stopped_trial_is_told_as_pruned_with_its_scores_and_no_values(tmp_path):
    trial = ended(trial_store(tmp_path), state="stopped")
    assert (trial.state, trial.values) == (optuna.trial.TrialState.PRUNED, None)
    assert trial.intermediate_values == {1: 10.0, 2: 20.0}


@pytest.mark.parametrize("second", [None, float("nan")])
def test_a_trial_that_lacks_the_second_value_at_its_end_has_failed(tmp_path, second):
    store = trial_store(tmp_path)
    ended(store, seconds=((1, 5.0), (2, second)))
    (entry,) = store.entries()
    assert (entry.state, entry.error) == ("failed", "it reported no time/step_ms in its last epoch")


def test_an_epoch_that_is_reported_twice_keeps_both_its_first_values(tmp_path):
    store = trial_store(tmp_path)
    key, _ = store.next()
    store.report(key, epoch=1, score=30.0, second_score=5.0)
    store.report(key, epoch=1, score=99.0, second_score=1.0)
    assert (store.entry(key).scores, store.entry(key).second_score) == ({1: 30.0}, 5.0)


@pytest.mark.parametrize("record", ["journal", "sqlite"])
def test_every_kind_of_record_gives_both_values_back(tmp_path, record):
    config = study(record=f"sqlite:///{tmp_path}/trials.db" if record == "sqlite" else record)
    ended(trial_store(tmp_path, config))
    again = trial_store(tmp_path, config)
    (entry,) = again.entries()
    assert (entry.scores, entry.second_score, entry.state) == ({1: 10.0, 2: 20.0}, 6.0, "complete")
    assert again._study.trials[0].values == [20.0, 6.0]


@pytest.mark.parametrize("handed", [flatten_dict, dict], ids=["as Tune hands it over", "as a simulation does"])
def test_the_searcher_takes_times_and_the_second_value_from_the_trials_metrics(tmp_path, handed):
    store = trial_store(tmp_path)
    searcher = TrialStoreSearcher(
        store, trial_config=lambda key, values: {"key": key}, concurrent=lambda: 1, max_epochs=2
    )
    searcher.suggest("a")
    for epoch in (1, 2):
        metrics = {"time/step_ms": 7.0 + epoch, "time/epoch_s": 1.0}
        result = TrialMessage(epoch=epoch, score=10.0 * epoch, metrics=metrics).to_result()
        searcher.on_trial_result("a", handed(result))
    searcher.on_trial_complete("a", handed(result))
    assert store._study.trials[0].values == [20.0, 9.0]
    assert store.trained_s == 2.0


SEARCH = {"interpixel.alpha": {"uniform": [0, 1]}, "optim.lr": {"uniform": [0.0001, 1]}}
PRIOR = {**SEARCH, "optim.lr": {"uniform": [0.0001, 1], "prior": {"center": 0.5}}}


def searched(store, trials, *, every_third_is_stopped=True):
    """A made-up problem: the score rises with alpha, the price too; lr only costs."""
    found = []
    for number in range(trials):
        key, values = store.next()
        found.append(values)
        alpha, lr = values["interpixel.alpha"], values["optim.lr"]
        for epoch in (1, 2):
            store.report(key, epoch=epoch, score=epoch * alpha, second_score=alpha + lr)
        store.end(key, state="stopped" if every_third_is_stopped and number % 3 == 2 else "complete")
    return found


@pytest.mark.parametrize(
    ("sampler", "search"),
    [("tpe", SEARCH), ("tpe", PRIOR), ("random", SEARCH), pytest.param("gp", SEARCH, marks=pytest.mark.slow)],
)
def test_the_next_suggestion_after_reopening_is_the_one_that_would_have_come(tmp_path, sampler, search):
    config = study(search=search, points=[], sampler={"name": sampler, "startup_trials": 3})
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    unbroken = searched(trial_store(tmp_path / "a", config), 9)
    searched(trial_store(tmp_path / "b", config), 8)
    assert trial_store(tmp_path / "b", config).next()[1] == unbroken[8]


def test_tpe_learns_what_both_objectives_want_among_stopped_trials_too(tmp_path):
    """lr only costs: TPE must come to draw it lower than evenly, and alpha, which is a trade-off, still all over."""
    config = study(search=SEARCH, points=[], sampler={"name": "tpe", "startup_trials": 10})
    late = searched(trial_store(None, config, total=60), 60)[30:]
    rates = [values["optim.lr"] for values in late]
    alphas = [values["interpixel.alpha"] for values in late]
    assert sum(rates) / len(rates) < 0.3  # evenly: 0.5 with a standard error of 0.05
    assert max(alphas) - min(alphas) > 0.5


@pytest.mark.parametrize("mode", ["max", "min"])
def test_stopped_trials_rank_by_how_far_they_came_and_then_by_the_first_objective(mode):
    """No trial is complete: TPE's good ones are those that came farther, or scored better at the same epoch."""
    config = study(search=SEARCH, points=[], sampler={"name": "tpe", "startup_trials": 5})
    config = config.model_copy(update={"objective": config.objective.model_copy(update={"mode": mode})})
    store = trial_store(None, config)
    sign = 1 if mode == "max" else -1
    for _ in range(30):
        key, values = store.next()
        store.report(key, epoch=1, score=sign * values["interpixel.alpha"], second_score=1.0)
        store.end(key, state="stopped")
    late = [entry.values["interpixel.alpha"] for entry in store.entries()[15:]]
    assert sum(late) / len(late) > 0.7


def test_with_one_objective_tpe_is_optunas_own_shown_trials_by_their_places():
    ranked = build_sampler(study().sampler, SearchSpace(study()))._inner
    assert type(ranked) is RankedSampler
    assert type(ranked._model) is optuna.samplers.TPESampler


def test_a_grid_is_run_once_over(tmp_path):
    search = {"interpixel.distance": {"choice": ["kl", "cr"]}}
    store = trial_store(tmp_path, study(search=search, points=[], sampler={"name": "grid"}))
    for _ in range(2):
        ended(store)
    assert store.next() is None
    assert {trial.params["interpixel.distance"]: trial.values for trial in store._study.trials} == {
        "kl": [20.0, 6.0],
        "cr": [20.0, 6.0],
    }


# the progress table


def progress(**rows):
    made = ProgressTable(metric="val/miou", mode="max", second_objective=PRICE, total=4, max_epochs=9)
    for key, (score, second_score, state) in rows.items():
        made.rows[key] = TrialRow(values={"optim.lr": key}, state=state)
        made.rows[key].reported(9, score=score, second_score=second_score)
    return made


FRONT = {"t0000": (40.0, 30.0, "complete"), "t0001": (35.0, 10.0, "complete"), "t0002": (34.0, 20.0, "complete")}


def test_the_headline_names_the_front_and_its_best_end():
    assert (
        "Pareto front so far 2 trials (t0000, t0001), best val/miou t0000 40.00 at time/step_ms 30"
        in progress(**FRONT).headline()
    )


def test_the_table_has_a_column_for_the_second_objective():
    console = Console(file=io.StringIO(), width=160)
    console.print(progress(**FRONT).table())
    assert "time/step_ms" in console.file.getvalue()
    assert "30" in console.file.getvalue()


def test_an_epochs_line_has_both_values():
    console = Console(file=io.StringIO(), width=160)
    Display(progress(**FRONT), console).epoch("t0001")
    assert "val/miou 35.00  time/step_ms 10" in console.file.getvalue()


def test_checkpoints_are_kept_of_all_on_the_front():
    assert progress(**FRONT).contenders(unsettled=()) == {"t0000", "t0001"}


def test_of_equal_scores_the_cheaper_one_leads():
    equal = progress(t0000=(40.0, 30.0, "complete"), t0001=(40.0, 10.0, "complete"))
    assert equal.best() == ("t0001", 40.0)
    assert equal.front() == ["t0001"]


# the export


def rows(*pairs):
    second = {"against_metric": "time/step_ms", "against_mode": "min"}
    return [row(i, score, lr=i / 10) | second | {"against": price} for i, (score, price) in enumerate(pairs)]


def test_the_export_takes_the_fronts_end_and_says_so_in_the_file(tmp_path):
    place = study_with(tmp_path, rows((40.0, 30.0), (40.0, 20.0), (35.0, 10.0), (30.0, 50.0)))
    choice = export_best(place, tmp_path / "best.yaml")
    assert choice.row["trial"] == 1
    assert choice.front == ("t0001", "t0002")
    text = (tmp_path / "best.yaml").read_text()
    assert "val/miou 40.00 at time/step_ms 20 after 9 of 9 epochs" in text
    assert "of the Pareto front the end with the best last objective" in text
    assert "# no single winner: 2 trials on the Pareto front: t0001, t0002" in text
    told = load_config(tmp_path / "best.yaml", TrainConfig).provenance["objective"]
    assert told["against"] == {"metric": "time/step_ms", "mode": "min", "value": 20.0}
    assert told["front"] == ["t0001", "t0002"]


def test_another_trial_of_the_front_can_be_named(tmp_path):
    choice = choose(tables_of(rows((40.0, 30.0), (35.0, 10.0))), trial="t0001")
    assert choice.row["trial"] == 1
    assert any("no single winner: 2 trials" in caveat for caveat in choice.caveats)


def test_with_one_objective_the_export_names_no_front():
    assert choose(tables_of([row(0, 40.0), row(1, 41.0)])).front == ()
