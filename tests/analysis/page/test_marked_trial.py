"""The table of trials marks the one that others are held against."""

from analysis.page.page import trial_rows
from tests.analysis.made import END, UNIT, make_study


def test_the_marked_trial_says_what_it_is_and_no_other_does():
    study = make_study({"tau": UNIT}, [{"tau": 0.8}, {"tau": 0.2}], [{END: 50.0}, {END: 51.0}])
    _, rows = trial_rows(study, (study.trials[0], "the paper's defaults"))
    assert [row.cells[1] for row in rows] == ["t0000 · the paper's defaults", "t0001"]
