"""What the report says of trials that broke a constraint."""

from analysis.ingest.tables import build_tables
from analysis.sections.constraints import constraint_sections
from analysis.stats.study import from_tables
from analysis.wording.search import answer
from tests.analysis.confirmations import run

WHY = "memory/peak_mib is 120, at most 100 is allowed"


def tables(*states):
    runs = []
    for number, state in enumerate(states):
        one = run(f"t{number:04d}", number, phase="search", score=70.0 - number, state=state, epochs=2)
        one.summary["error"] = WHY if state == "infeasible" else None
        runs.append(one)
    return build_tables(runs)


def test_every_trial_that_broke_a_constraint_is_listed_with_its_figure():
    (section,) = constraint_sections(from_tables(tables("infeasible", "stopped", "infeasible")))
    assert "2 trials of 3 broke a constraint" in section.reading
    assert [row[:2] for row in section.table[1:]] == [("0", WHY), ("2", WHY)]


def test_a_study_whose_trials_keep_the_constraints_has_no_such_section():
    assert constraint_sections(from_tables(tables("stopped", "stopped"))) == []


def test_where_all_broke_a_constraint_the_first_screen_says_that_there_is_no_answer():
    found = tables("infeasible", "infeasible")
    assert answer(from_tables(found), found).headline == (
        "No answer: of 2 trials 2 broke a constraint, and no other has a score."
    )
