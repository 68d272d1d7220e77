"""What two processes wait for: rows are kept as they come, and the page says what is missing."""

import json

import pytest
from typer.testing import CliRunner

from benchmarks import process_counts


def row(method, over, waits):
    return {
        "method": method,
        "over": over,
        "crop": 33,
        "exchanges": 4,
        "waits": waits,
        "where": {"bank.py:3 cat": waits},
    }


def added(rows, *some):
    with rows.open("a") as file:
        file.writelines(json.dumps(one) + "\n" for one in some)


def counted(folder, *arguments):
    given = ["--rows", str(folder / "rows.jsonl"), "--out", str(folder / "page.md"), *arguments]
    return CliRunner().invoke(process_counts.app, given)


def test_what_is_counted_stays_where_a_later_method_fails_and_is_not_counted_again(tmp_path, monkeypatch):
    asked = []

    def fails(wanted, rows, **settings):
        asked.append(wanted)
        added(rows, row("cps", "global", 7), row("cps", "device", 2))
        raise RuntimeError("the processes ended")

    monkeypatch.setattr(process_counts, "on_processes", fails)
    names = ["--method", "cps", "--method", "dmt"]
    for _ in range(2):
        assert counted(tmp_path, *names).exit_code == 1
        assert "| cps | 4 | 4 | 7 | 2 |" in (tmp_path / "page.md").read_text()
    left = [("dmt", "global"), ("dmt", "device")]
    assert asked == [[("cps", "global"), ("cps", "device"), *left], left]


@pytest.mark.parametrize("missing", ["unimatch", "dsbn"])
def test_the_page_names_methods_that_were_not_counted(missing):
    both = [("global", 3), ("device", 0)]
    found = {(name, over): row(name, over, waits) for name in process_counts.SETTINGS for over, waits in both}
    del found[missing, "device"]
    page = process_counts.page(found)
    assert f"Not counted: {missing}." in page
    assert "Where hosts wait" not in page
