import csv
import math
import re

import numpy as np
from scipy import stats

from analysis.page.table_search import write_results
from analysis.stats.configuration_means import results
from tests.analysis.stats.test_stats import full, study_of, trial


def three_seeds():
    same = [trial(number, full(score), **{"interpixel.tau": 0.5}) for number, score in enumerate((40.0, 41.0, 42.5))]
    other = [trial(3, full(43.0), **{"interpixel.tau": 0.1}), trial(4, {1: 90.0}, "stopped")]
    return study_of([*same, *other], seeds=[0, 1, 2, 0, 0])


def test_a_configuration_with_several_seeds_has_the_t_interval_of_its_mean():
    (found,) = [one for one in results(three_seeds()) if one.seeds == 3]
    low, high = stats.t.interval(0.95, 2, loc=found.mean, scale=stats.sem([40.0, 41.0, 42.5]))
    assert math.isclose(found.low, low)
    assert math.isclose(found.high, high)
    assert math.isclose(found.spread, np.std([40.0, 41.0, 42.5], ddof=1))


def test_a_configuration_with_one_seed_has_no_interval_and_stopped_ones_are_left_out():
    found = results(three_seeds())
    assert [one.seeds for one in found] == [1, 3]
    assert found[0].low is None


def test_a_seed_that_was_run_twice_counts_once():
    twice = [trial(number, full(score), **{"interpixel.tau": 0.5}) for number, score in enumerate((40.0, 41.0))]
    (found,) = results(study_of(twice, seeds=[0, 0]))
    assert found.seeds == 1
    assert found.low is None


def test_the_csv_has_every_configuration_with_seeds_epochs_and_split(tmp_path):
    write_results(three_seeds(), tmp_path)
    with (tmp_path / "tables" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["seeds"] for row in rows] == ["1", "3"]
    assert rows[1]["trials"] == "0 1 2"
    assert rows[0]["low95"] == ""
    assert {(row["epochs"], row["split_hash"]) for row in rows} == {("9", "abc123def456")}


def test_the_latex_caption_says_seeds_split_and_budget(tmp_path):
    write_results(three_seeds(), tmp_path)
    text = (tmp_path / "tables" / "results.tex").read_text()
    caption = re.search(r"\\caption\{(.*)\}", text)[1]
    assert "1 to 3 seeds each" in caption
    assert "split abc123def456" in caption
    assert "full budget of 9 epochs" in caption


def test_the_latex_table_is_balanced_and_every_row_has_all_cells(tmp_path):
    write_results(three_seeds(), tmp_path)
    text = (tmp_path / "tables" / "results.tex").read_text()
    plain = re.sub(r"\\[{}&%_]", "", text)
    assert plain.count("{") == plain.count("}")
    columns = len(re.search(r"\\begin\{tabular\}\{(\w+)\}", text)[1])
    rows = re.findall(r"^(.*) \\\\$", plain, re.MULTILINE)
    assert len(rows) == 3
    assert all(row.count("&") == columns - 1 for row in rows)


def test_names_are_escaped_for_latex(tmp_path):
    study = study_of([trial(0, full(40.0), **{"interpixel.distance": "a_b&c%"})])
    write_results(study, tmp_path)
    assert r"a\_b\&c\%" in (tmp_path / "tables" / "results.tex").read_text()
