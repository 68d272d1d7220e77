import math

import numpy as np
import pytest
from scipy import stats

from analysis.sections.search import search_sections
from analysis.stats.all_choices import rivals, structural
from analysis.wording.choices import say_rivals
from tests.analysis import conftest
from tests.analysis.stats.test_stats import study_of

METHODS = ["fixmatch", "cps", "gct", "ael"]


@pytest.fixture(autouse=True)
def space(monkeypatch):
    """A choice of four methods, one with a parameter of its own, and a choice on which nothing depends."""
    searched = {
        "method.name": conftest.dimension("choice", choices=METHODS),
        "method.cps_weight": conftest.dimension("loguniform", low=0.1, high=10, only_if={"method.name": "cps"}),
        "optim.lr": conftest.dimension("choice", choices=[0.1, 0.2, 0.3]),
        "tau": conftest.dimension("uniform", low=0, high=1),
    }
    monkeypatch.setattr(conftest, "SPACE", searched)


def study(scores, *, epochs=9, state="complete"):
    """Trials by method, each with one score after ``epochs``, and one after the first epoch."""
    trials = []
    for method, own in scores.items():
        for score in own:
            curve = {1: score / 2, epochs: score}
            values = {"method.name": method, "optim.lr": 0.1, "tau": len(trials) / 100} | (
                {"method.cps_weight": 1.0} if method == "cps" else {}
            )
            trials.append({"number": len(trials), "values": values, "curve": curve, "state": state, "error": None})
    return study_of(trials)


SCORES = {"fixmatch": [70.0, 71, 72], "cps": [60.0, 61, 64, 62], "gct": [69.0, 72.5, 70, 66], "ael": [50.0, 80]}


def test_only_choices_of_three_and_more_on_which_others_depend_have_rivals():
    assert structural(study(SCORES)) == ["method.name"]


def test_intervals_are_welchs_by_bonferroni_over_all_pairs():
    found = rivals(study(SCORES), "method.name")
    assert [one.value for one in found.ranked] == ["fixmatch", "gct", "cps"]
    first, cps = np.array(SCORES["fixmatch"]), np.array(SCORES["cps"])
    parts = [one.var(ddof=1) / len(one) for one in (first, cps)]
    freedom = sum(parts) ** 2 / sum(part**2 / (len(one) - 1) for part, one in zip(parts, (first, cps), strict=True))
    reach = stats.t.ppf(1 - 0.025 / 3, freedom) * math.sqrt(sum(parts))
    gap = first.mean() - cps.mean()
    assert found.ranked[2].difference == pytest.approx((gap, gap - reach, gap + reach))
    assert found.ranked[0].difference is None


def test_a_choice_with_too_few_trials_is_named_and_cannot_lead():
    found = rivals(study(SCORES | {"ael": [99.0, 99.5]}), "method.name")
    assert found.few == (("ael", 2),)
    assert found.ranked[0].value == "fixmatch"


def test_choices_are_compared_where_most_of_them_have_come():
    early = {"cps": [60.0, 61, 64], "gct": [69.0, 72, 70]}
    long, short = study(SCORES | {"cps": [], "gct": []}), study(early, epochs=3, state="stopped")
    both = long.__class__(**{**vars(long), "trials": long.trials + short.trials})
    found = rivals(both, "method.name")
    assert (found.epoch, len(found.ranked)) == (1, 3)


def test_where_less_is_better_the_lowest_mean_leads():
    found = study(SCORES)
    turned = found.__class__(**{**vars(found), "mode": "min"})
    assert rivals(turned, "method.name").ranked[0].value == "cps"


def test_scores_that_do_not_vary_leave_the_difference_open():
    found = rivals(study({"fixmatch": [70.0] * 3, "cps": [5.0] * 3}), "method.name")
    assert found.ranked[1].difference == (65.0, -100.0, 100.0)


def test_no_interval_goes_beyond_what_a_difference_of_percentages_can_be():
    made = study({"fixmatch": [70.0, 72, 71], "cps": [1.0, 60, 20], "gct": [5.0, 50, 64]})
    ends = [end for one in rivals(made, "method.name").ranked[1:] for end in one.difference[1:]]
    assert min(ends) == -100
    assert max(ends) == 100
    loss = made.__class__(**{**vars(made), "metric": "val/loss"})
    assert rivals(loss, "method.name").ranked[1].difference[2] > 100


def test_with_two_trials_each_the_question_has_no_answer_and_says_how_many_are_needed(undrawn):
    few = study({"fixmatch": [70.0, 71], "cps": [60.0, 61]})
    assert rivals(few, "method.name") is None
    (found,) = [one for one in search_sections(few, undrawn) if one.title == "Which method.name?"]
    assert "Fewer than two values of method.name have 3 configurations" in found.why


def test_the_reading_names_who_is_apart_and_that_it_is_no_experiment():
    text = say_rivals(rivals(study(SCORES), "method.name"), full=9)
    assert "fixmatch has the best mean, 71.00 (n = 3 trials)" in text
    assert "In these trials it is apart from cps (1 of 2); the rest is undecided" in text
    assert "what tuning made of each, and no experiment" in text
    assert "hold together" not in text
    assert "says nothing of the order" not in text
    assert "says nothing of the order after all 20 epochs" in say_rivals(rivals(study(SCORES), "method.name"), full=20)


def test_the_report_has_a_section_on_it_with_a_row_for_every_choice(figures):
    failed = study(SCORES)
    (section,) = [one for one in search_sections(failed, figures) if one.title == "Which method.name?"]
    assert section.figure.exists()
    assert [row[:2] for row in section.table[1:]] == [("fixmatch", "3"), ("gct", "4"), ("cps", "4")]
    assert any("ael (2)" in note for note in section.notes)


def test_failed_trials_of_a_choice_are_counted(tmp_path):
    made = study(SCORES)
    lost = [one.__class__(**{**vars(one), "state": "failed", "curve": {}}) for one in made.trials[:1]]
    found = rivals(made.__class__(**{**vars(made), "trials": (*made.trials, *lost)}), "method.name")
    assert found.failed == (("fixmatch", 1),)


def test_a_trial_that_failed_counts_with_what_it_scored_before():
    made = study(SCORES)
    broken = [one.__class__(**{**vars(one), "state": "failed"}) for one in made.trials[:1]]
    found = rivals(made.__class__(**{**vars(made), "trials": (*broken, *made.trials[1:])}), "method.name")
    assert found.failed == (("fixmatch", 1),)
    assert len(found.ranked[0].scores) == 3
