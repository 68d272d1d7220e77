import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.figures import pareto as figure
from analysis.figures import style
from analysis.ingest import tables
from analysis.ingest.logged_run import LoggedRun
from analysis.sections.pareto import pareto_sections
from analysis.stats.non_dominated import non_dominated
from analysis.stats.pareto import pareto
from analysis.stats.study import from_tables
from analysis.wording import pareto as pareto_findings
from analysis.wording.search import answer
from tests.analysis.conftest import config_of

few = st.integers(0, 5).map(float)
points = st.lists(st.tuples(few, few), min_size=1, max_size=25)


@given(drawn=points)
@settings(deadline=None, max_examples=300)
def test_the_front_is_what_nothing_dominates_by_brute_force(drawn):
    def dominates(one, other):
        return one[0] >= other[0] and one[1] >= other[1] and one != other

    assert non_dominated(drawn) == [not any(dominates(other, one) for other in drawn) for one in drawn]


@pytest.mark.parametrize("directions", [("maximize", "minimize"), ("minimize", "minimize"), ("maximize", "maximize")])
@given(drawn=points)
@settings(deadline=None, max_examples=25)
def test_the_front_is_optunas(directions, drawn):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=directions)
    study.add_trials([optuna.trial.create_trial(values=list(one)) for one in drawn])
    signs = [1 if direction == "maximize" else -1 for direction in directions]
    ours = non_dominated([(signs[0] * one[0], signs[1] * one[1]) for one in drawn])
    assert [trial.number for trial in study.best_trials] == [i for i, on_front in enumerate(ours) if on_front]


PRICE = {"metric": "time/step_ms", "mode": "min"}


def tables_of(rows, *, mode="max", second=PRICE):
    """Tables of trials (score, second objective, state, tau, seed)."""
    runs = []
    for number, (score, price, state, tau, seed) in enumerate(rows):
        epochs = 9 if state == "complete" else 3
        values = {"interpixel.alpha": 0.5, "interpixel.distance": "kl", "interpixel.tau": tau}
        config = config_of({"number": number, "values": values}, seed=seed)
        config["objective"] = {"metric": "val/miou", "mode": mode, "second_objective": second}
        run = LoggedRun(run_id=f"s-t{number:04d}", config=config, started=1.0, ended=True)
        run.summary = {"state": state, "error": None}
        for epoch in range(1, epochs + 1):
            row = {"epoch": epoch, "val/miou": score - (epochs - epoch), "_timestamp": 100.0 * number + epoch}
            run.add_row(row | ({} if price is None else {"time/step_ms": price + (epochs - epoch)}))
        runs.append(run)
    return tables.build_tables(runs)


def complete(score, second, *, tau=None, seed=0):
    return (score, second, "complete", score / 100 if tau is None else tau, seed)


ROWS = [
    complete(40.0, 30.0),
    complete(39.8, 20.0),
    complete(35.0, 10.0),
    complete(39.4, 21.0),
    complete(30.0, 40.0),
    (99.0, 1.0, "stopped", 0.5, 0),
]


def test_the_last_values_of_both_objectives_are_in_the_table_of_runs():
    made = tables_of(ROWS).runs.to_pylist()
    assert [row["against"] for row in made] == [30.0, 20.0, 10.0, 21.0, 40.0, 1.0]
    assert {(row["against_metric"], row["against_mode"]) for row in made} == {("time/step_ms", "min")}


def test_only_trials_that_ran_all_their_epochs_are_on_the_front():
    found = pareto(from_tables(tables_of(ROWS)), noise=0.5)
    assert [point.trial.number for point in found.front] == [0, 1, 2]
    assert len(found.points) == 5


def test_members_closer_than_seeds_differ_are_counted_and_so_are_those_that_would_join():
    found = pareto(from_tables(tables_of(ROWS)), noise=0.5)
    assert found.close == 2  # 40.0 and 39.8
    assert found.near == 1  # 39.4 at 21: with 0.5 more it beats 39.8 at 20


def test_a_configuration_stands_by_its_mean_over_seeds():
    rows = [
        complete(45.0, 30.0, tau=0.1, seed=0),
        complete(33.0, 34.0, tau=0.1, seed=1),
        complete(40.0, 31.0, tau=0.2),
    ]
    (front,) = pareto(from_tables(tables_of(rows)), noise=0.5).front
    assert (front.trial.number, front.score, front.seeds) == (2, 40.0, 1)
    both = pareto(from_tables(tables_of(rows[:2])), noise=0.5).front[0]
    assert (both.score, both.second_score, both.seeds) == (39.0, 32.0, 2)


def test_a_trial_without_the_second_value_is_not_on_the_front():
    found = pareto(from_tables(tables_of([complete(90.0, None), complete(30.0, 5.0)])), noise=None)
    assert [point.trial.number for point in found.points] == [1]


def test_of_equal_scores_the_cheaper_one_is_the_fronts_end():
    study = from_tables(tables_of([complete(40.0, 30.0, tau=0.1), complete(40.0, 20.0, tau=0.2)]))
    assert study.best().number == 1
    assert [point.trial.number for point in pareto(study, noise=0.5).front] == [1]


def test_the_first_screen_names_no_winner_but_the_front_and_its_ends():
    made = tables_of(ROWS)
    said = answer(from_tables(made), made)
    assert "highest val/miou against the lowest time/step_ms" in said.question
    assert said.headline == (
        "No single winner: 3 of 5 configurations are on the Pareto front, from val/miou 40.00 % at time/step_ms 30 "
        "(trial 0) to val/miou 35.00 % at time/step_ms 10 (trial 2); 1 seed each."
    )
    assert "provisional" in said.trust
    assert "2 of the 3 on the front differ by less" in said.trust
    assert "1 of the 2 others would be on it" in said.trust
    assert said.best.number == 0


def test_of_a_metric_whose_noise_is_unknown_it_says_so():
    made = tables_of(ROWS)
    study = from_tables(made, metric="time/step_ms")
    found = pareto(study, noise=None)
    assert "is not known" in pareto_findings.say_trust(found, study)


def test_where_the_scheduler_stopped_trials_the_cheap_end_is_called_incomplete():
    study = from_tables(tables_of(ROWS))
    assert "cheap end may be incomplete" in pareto_findings.say_front(pareto(study, noise=0.5), study)


def test_before_a_trial_is_complete_nothing_is_said(undrawn):
    study = from_tables(tables_of([ROWS[-1]]))
    (found,) = pareto_sections(study, undrawn)
    assert found.why == "No trial that ran all its epochs has both val/miou and time/step_ms."


def test_a_study_with_one_objective_has_no_such_section(undrawn):
    assert pareto_sections(from_tables(tables_of(ROWS, second=None)), undrawn) == []


def test_the_section_shows_the_front_as_figure_and_table_with_both_values_and_seeds(figures):
    (section,) = pareto_sections(from_tables(tables_of(ROWS)), figures)
    searched = ("interpixel.alpha", "interpixel.distance", "interpixel.tau")
    assert section.table[:2] == (
        ("trial on the front", "val/miou", "time/step_ms", "seeds", *searched),
        ("0", "40.00", "30", "1", "0.5", "kl", "0.4"),
    )
    assert len(section.table) == 4
    assert section.figure.name == "pareto.svg"


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("second", ["max", "min"])
def test_the_steps_of_the_figure_lie_over_no_configuration(mode, second):
    """In every pair of directions: each trial is at most as good as the step at its price."""
    rows = [complete(float(30 + (7 * i) % 11), float(10 + (5 * i) % 13), tau=i / 50) for i in range(14)]
    study = from_tables(tables_of(rows, mode=mode, second={"metric": "time/step_ms", "mode": second}))
    found = pareto(study, noise=0.5)
    drawn = figure.draw(found, study, style.LIGHT)
    (line,) = drawn.axes[0].lines
    places, scores = line.get_xdata(), line.get_ydata()
    for point in found.points:
        within = [
            score
            for place, score in zip(places, scores, strict=True)
            if (place <= point.second_score if second == "min" else place >= point.second_score)
        ]
        best = max(within) if mode == "max" else min(within)
        assert (point.score <= best) if mode == "max" else (point.score >= best)
    assert "n = 14 configurations" in drawn.axes[0].get_title(loc="left")
