import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp, ttest_ind

from analysis.figures import parameters, style
from analysis.ingest import tables
from analysis.ingest.logged_run import LoggedRun
from analysis.ingest.wandb_files import read_folder
from analysis.sections.search import search_sections
from analysis.sections.section import ReportSection
from analysis.stats.study import from_tables
from analysis.stats.two_choices import compare, difference, welch
from tests.analysis import conftest
from tests.analysis.conftest import config_of, make_trials


def study_of(trials, seeds=None):
    return from_tables(tables.build_tables(runs_of(trials, seeds)))


def runs_of(trials, seeds=None):
    runs = []
    for trial in trials:
        seed = 0 if seeds is None else seeds[trial["number"]]
        run = LoggedRun(run_id=f"s-t{trial['number']:04d}", config=config_of(trial, seed=seed), started=1.0, ended=True)
        run.summary = {"state": trial["state"], "error": trial["error"]}
        for epoch, score in trial["curve"].items():
            run.add_row({"epoch": epoch, "val/miou": score, "_timestamp": 100.0 * trial["number"] + epoch})
        runs.append(run)
    return runs


def trial(number, curve, state="complete", **values):
    values = {"interpixel.alpha": 1.0, "interpixel.distance": "kl", "interpixel.tau": 0.01 * number} | values
    return {"number": number, "values": values, "curve": curve, "state": state, "error": None}


def full(last):
    return {epoch: last - (9 - epoch) for epoch in range(1, 10)}


def test_the_best_is_chosen_among_trials_that_ran_all_their_epochs():
    study = study_of([trial(0, {1: 90.0}, "stopped"), trial(1, full(40.0)), trial(2, full(41.0))])
    assert study.best().number == 2


def test_with_no_complete_trial_the_best_is_among_those_that_ran_longest():
    study = study_of([trial(0, {1: 90.0}, "stopped"), trial(1, {1: 1.0, 2: 2.0, 3: 3.0}, "stopped")])
    assert study.best().number == 1


def test_a_failed_trial_is_never_the_best():
    study = study_of([trial(0, full(90.0), "failed"), trial(1, full(40.0))])
    assert study.best().number == 1


def test_a_configuration_is_judged_by_its_mean_over_seeds():
    lucky = [trial(0, full(45.0), **{"interpixel.tau": 0.5}), trial(1, full(35.0), **{"interpixel.tau": 0.5})]
    steady = [trial(2, full(41.0), **{"interpixel.tau": 0.1}), trial(3, full(41.5), **{"interpixel.tau": 0.1})]
    study = study_of([*lucky, *steady], seeds={0: 0, 1: 1, 2: 0, 3: 1})
    assert study.best().number in (2, 3)
    assert study.seeds_of(study.best()) == 2


def test_the_seeds_behind_a_statement_are_counted_not_assumed():
    trials = [trial(number, full(40.0 + number), **{"interpixel.tau": 0.5}) for number in range(3)]
    assert study_of(trials).seeds_each() == "1 seed each"
    assert study_of(trials, seeds=[0, 1, 2]).seeds_each() == "3 seeds each"


def test_a_score_that_is_not_finite_is_no_score():
    study = study_of([trial(0, {1: 1.0, 2: math.nan}), trial(1, {1: math.inf})])
    assert [one.score for one in study.trials] == [1.0, None]


@pytest.mark.parametrize("choices", [[1, 2.5], [1, "auto"], [True, "auto"]])
def test_a_choice_comes_back_from_the_tables_as_the_space_names_it(choices):
    trials = [trial(number, full(40.0), **{"data.size": choice}) for number, choice in enumerate(choices)]
    runs = []
    for one in trials:
        config = config_of(one)
        space = config["space"] | {"data.size": {"kind": "choice", "choices": choices}}
        runs.append(LoggedRun(run_id=f"s-{one['number']}", config=config | {"space": space}))
    read = [one.values["data.size"] for one in from_tables(tables.build_tables(runs)).trials]
    assert list(map(repr, read)) == list(map(repr, choices))


def test_choices_are_compared_at_one_budget_with_their_counts():
    trials = make_trials(40, seed=3)
    found = compare(study_of(trials), "interpixel.distance", first="kl", second="cr")
    of = {
        name: [one["curve"][9] for one in trials if 9 in one["curve"] and one["values"]["interpixel.distance"] == name]
        for name in ("kl", "cr")
    }
    assert sorted(found.first_scores) == sorted(of["kl"])
    assert sorted(found.second_scores) == sorted(of["cr"])
    assert math.isclose(found.difference.value, np.mean(of["kl"]) - np.mean(of["cr"]))


def test_with_too_few_trials_there_is_no_interval():
    pair = [trial(0, full(40.0)), trial(1, full(41.0), **{"interpixel.distance": "cr"})]
    assert compare(study_of(pair), "interpixel.distance", first="kl", second="cr").difference is None


def test_where_there_is_no_interval_no_figure_suggests_a_difference(undrawn):
    pair = [trial(0, full(40.0)), trial(1, full(41.0), **{"interpixel.distance": "cr"})]
    found = next(one for one in search_sections(study_of(pair), undrawn) if one.title == "KL or CR?")
    assert found.why == (
        "Configurations with a score after 9 epochs: 1 with KL, 1 with CR. An interval needs 3 of each, or 3 seeds "
        "that all of them ran with, and scores that differ."
    )
    assert "confirm.contrast" in found.what_would


def test_a_parameters_axis_spans_its_range_and_not_what_was_tried(tmp_path):
    study = study_of([trial(0, full(40.0), **{"interpixel.alpha": 1.0})])
    figure = parameters.draw(study, style.LIGHT)
    for name, axes in zip(study.parameters, figure.axes, strict=False):
        dimension = study.space[name]
        if dimension["choices"] is None:
            low, high = axes.get_xlim()
            assert low < dimension["low"]
            assert dimension["high"] < high
            assert axes.get_xscale() == ("log" if dimension["kind"].startswith("log") else "linear")


@pytest.mark.parametrize(
    ("epochs", "said", "scales"), [((9, 9), "9 epochs each", 0), ((9, 3), "of different budgets", 1)]
)
def test_the_scatter_tells_epochs_by_colour_only_where_they_differ(epochs, said, scales, undrawn):
    study = study_of([trial(number, dict.fromkeys(range(1, 1 + last), 40.0)) for number, last in enumerate(epochs)])
    figure = parameters.draw(study, style.LIGHT)
    assert said in figure.get_suptitle()
    assert sum(axes.get_ylabel() == "epochs run" for axes in figure.axes) == scales
    part = next(one for one in search_sections(study, undrawn) if one.title.startswith("How did the score change"))
    assert said in part.n
    assert ("darker" in part.reading) == bool(scales)


def test_a_choice_that_was_never_tried_cannot_be_compared():
    assert compare(study_of([trial(0, full(40.0))]), "interpixel.distance", first="kl", second="cr") is None


def once_each(scores):
    """Configurations of one choice, one seed each."""
    return {(("tau", str(number)),): {0: score} for number, score in enumerate(scores)}


def test_the_interval_of_two_choices_is_welchs():
    first, second = [40.0, 42.5, 41.0, 47.0], [39.0, 39.5, 41.5]
    found = difference(once_each(first), once_each(second))
    low, high = ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high, found.seeds) == (pytest.approx(low), pytest.approx(high), 0)


@pytest.mark.parametrize("counts", [(3, 3), (5, 5), (15, 15)])
def test_equal_choices_are_called_apart_in_no_more_than_five_percent(counts):
    rng = np.random.default_rng(0)
    repeats = 2000
    apart = sum(welch(*(rng.normal(0, 1, count) for count in counts)).decided for _ in range(repeats))
    assert apart / repeats <= 0.05 + 2.5 * math.sqrt(0.05 * 0.95 / repeats)


def grid(rng, *, shared, seeds=range(5), configs=3):
    """A choice's runs over a grid of configurations and seeds; ``shared``: what each seed does to all runs with it."""
    return {(("tau", str(one)),): {seed: shared[seed] + rng.normal(0, 0.3) for seed in seeds} for one in range(configs)}


def test_a_grid_over_seeds_is_compared_seed_by_seed():
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 3, 5)
    first, second = grid(rng, shared=shared + 1), grid(rng, shared=shared)
    found = difference(first, second)
    gaps = [
        np.mean([a[seed] for a in first.values()]) - np.mean([b[seed] for b in second.values()]) for seed in range(5)
    ]
    low, high = ttest_1samp(gaps, 0).confidence_interval(0.95)
    assert (found.value, found.low, found.high) == (
        pytest.approx(np.mean(gaps)),
        pytest.approx(low),
        pytest.approx(high),
    )
    assert found.seeds == 5
    assert found.decided


def test_runs_of_one_configuration_are_no_configurations_of_their_own():
    """Each choice has four configurations of 5 seeds; the configurations differ, and the seeds hardly."""
    rng = np.random.default_rng(0)
    apart, repeats = 0, 400
    for _ in range(repeats):
        arms = [
            {
                (("tau", str(n)),): {
                    seed: level + rng.normal(0, 0.1) for seed in range(5 * (n + 4 * arm), 5 * (n + 4 * arm) + 5)
                }
                for n, level in enumerate(rng.normal(0, 1, 4))
            }
            for arm in range(2)
        ]
        apart += difference(*arms).decided
    assert apart / repeats <= 0.05 + 2.5 * math.sqrt(0.05 * 0.95 / repeats)


def test_choices_whose_scores_are_all_alike_have_no_interval():
    assert difference(once_each([40.0] * 3), once_each([40.0] * 3)) is None


@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_best_follows_the_objectives_mode(mode):
    trials = [trial(0, full(40.0)), trial(1, full(41.0), **{"interpixel.tau": 0.1})]
    runs = []
    for one in trials:
        config = config_of(one) | {"objective": {"metric": "val/miou", "mode": mode}}
        run = LoggedRun(run_id=f"s-t{one['number']:04d}", config=config, started=1.0, ended=True)
        run.summary = {"state": "complete"}
        for epoch, score in one["curve"].items():
            run.add_row({"epoch": epoch, "val/miou": score})
        runs.append(run)
    assert from_tables(tables.build_tables(runs)).best().number == (1 if mode == "max" else 0)


def test_the_study_in_the_logs_is_the_study_in_the_tables(study_dir, trials):
    study = from_tables(tables.build_tables(read_folder(study_dir / "wandb")[0]))
    assert [one.curve for one in study.trials] == [one["curve"] for one in trials]


def test_figures_of_all_parameters_show_the_twelve_that_most_trials_have(monkeypatch, undrawn):
    searched = {f"p{number:02d}": conftest.dimension("uniform", low=0, high=1) for number in range(15)}
    monkeypatch.setattr(conftest, "SPACE", searched)
    values = [{name: 0.5 for name in searched if name not in ("p00", "p07", "p09")}, dict.fromkeys(searched, 0.5)]
    made = [
        {"number": number, "values": one, "curve": full(50.0), "state": "complete", "error": None}
        for number, one in enumerate(values)
    ]
    study = study_of(made)
    assert study.drawn_parameters == tuple(name for name in searched if name not in ("p00", "p07", "p09"))
    assert len(study.parameters) == 15
    notes = [section.notes for section in search_sections(study, undrawn) if isinstance(section, ReportSection)]
    assert any("3 others are in the tables" in note for one in notes for note in one)
