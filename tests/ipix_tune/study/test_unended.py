"""What may go on from its own checkpoint keeps it at a study's end, of the search and of the confirmation."""

from ipix_tune.study.run_search import unended
from tests.ipix_tune.studies import row, study_with


def test_failed_cut_off_and_unknown_trials_may_go_on_and_those_that_ended_may_not(tmp_path):
    states = ("complete", "stopped", "failed", "interrupted", "crashed")
    rows = [row(number, 50.0, state=state) for number, state in enumerate(states)]
    for one in rows:
        one["run_id"] = f"small-{one['trial']}abcde-t{one['trial']:04d}"
    place = study_with(tmp_path, rows)
    for key in ("t0000", "t0001", "t0002", "t0003", "t0004", "c0000"):
        (place / "trials" / key).mkdir(parents=True)
    assert unended(place, None) == {"t0002", "t0003", "t0004", "c0000"}
