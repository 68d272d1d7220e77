"""The rows of faults: which is next, and what the page says of them."""

from benchmarks.faults import due, page

TESTS = ("test_a", "test_b")


def row(test, *, passed=True, seconds=(8.0,), lost=0, failure=None):
    costs = [{"fault": f"fault of {test}", "epochs_lost": lost, "seconds": one, "how": "by itself"} for one in seconds]
    return {
        "test": test,
        "passed": passed,
        "wall_s": 60.0,
        "at": "2026-11-29 06:20",
        "load": 2.5,
        "commit": "0123456789",
        "costs": costs,
        "failure": failure,
    }


def test_the_fault_with_the_fewest_rows_is_next_until_all_have_enough():
    rows, order = [], []
    while (test := due(rows, TESTS, times=2)) is not None:
        order.append(test)
        rows.append(row(test))
    assert order == ["test_a", "test_b"] * 2


def test_no_test_is_due_where_none_is_collected():
    assert due([], (), times=10) is None


def test_the_page_counts_what_was_right_of_all_that_was_tried():
    rows = [row("test_a", seconds=(8.0,)), row("test_a", seconds=(10.0,), lost=1), row("test_a", seconds=(30.0,))]
    rows.append(row("test_a", passed=False, seconds=(), failure="E assert 1 == 2"))
    lines = page([*rows, row("test_b", passed=False, seconds=())])
    assert "| fault of test_a | 3 of 4 | 1 | 10.0 (8.0 to 30.0) | by itself |" in lines
    assert "| b | 0 of 1 | | | |" in lines
    assert "- test_a (2026-11-29 06:20): E assert 1 == 2" in lines
