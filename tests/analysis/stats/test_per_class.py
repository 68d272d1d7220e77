import csv
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_rel

from analysis.ingest.logged_run import LoggedRun
from analysis.ingest.tables import build_tables
from analysis.page.table_classes import write_classes
from analysis.sections.classes import class_sections
from analysis.stats.per_class import class_changes, lost_classes, rival, seed_bands
from analysis.stats.study import from_tables
from tests.analysis.conftest import config_of

NAMES = ["background", "cat", "dog"]


def logged(groups, *, classes=NAMES):
    """``groups``: of each configuration the final IoU of every class by seed, (seeds, classes)."""
    runs = []
    for number, (config, seed, scores) in enumerate(
        (config, seed, scores) for config, group in enumerate(groups) for seed, scores in enumerate(group)
    ):
        trial = {"number": number, "values": {"interpixel.alpha": 0.1 * (1 + config)}}
        run = LoggedRun(run_id=f"s-t{number:04d}", config=config_of(trial, seed=seed), started=1.0, ended=True)
        run.config = {**run.config, "classes": classes}
        run.summary = {"state": "complete"}
        for epoch in (3, 9):
            row = {f"val/iou/{i}": score - (9 - epoch) for i, score in enumerate(scores) if score is not None}
            known = [score for score in scores if score is not None]
            run.add_row({"epoch": epoch, "val/miou": float(np.mean(known)) - (9 - epoch), **row})
        runs.append(run)
    tables = build_tables(runs)
    return from_tables(tables), tables


RNG = np.random.default_rng(0)
BASE = 50 + RNG.normal(0, 2, (5, 1))
FIRST = BASE + np.array([5.0, 0.0, 3.0]) + RNG.normal(0, 0.2, (5, 3))
SECOND = BASE + np.array([0.0, 0.0, 5.0]) + RNG.normal(0, 0.2, (5, 3))


def test_classes_are_compared_by_paired_t_intervals_that_hold_for_all_at_once():
    study, tables = logged([FIRST.tolist(), SECOND.tolist()])
    best = study.best()
    found = class_changes(study, tables, best, rival(study, best))
    assert found.seeds == 5
    for one in found.classes:
        column = NAMES.index(one.name)
        low, high = ttest_rel(FIRST[:, column], SECOND[:, column]).confidence_interval(1 - 0.05 / 3)
        assert (one.low, one.high) == pytest.approx((low, high))


def test_the_class_that_gains_comes_first_and_the_one_that_loses_last():
    study, tables = logged([FIRST.tolist(), SECOND.tolist()])
    found = class_changes(study, tables, study.best(), rival(study, study.best()))
    assert [one.name for one in found.classes] == ["background", "cat", "dog"]
    assert found.classes[0].low > 0
    assert found.classes[-1].high < 0
    assert found.classes[1].low < 0 < found.classes[1].high


def test_with_too_few_shared_seeds_nothing_is_compared():
    study, _ = logged([FIRST[:2].tolist(), SECOND[:2].tolist()])
    assert rival(study, study.best()) is None


def test_a_class_that_a_run_did_not_score_is_left_out_and_named():
    second = SECOND.tolist()
    second[0][1] = None
    study, tables = logged([FIRST.tolist(), second])
    found = class_changes(study, tables, study.trials[0], study.trials[5])
    assert found.left_out == ("cat",)
    assert len(found.classes) == 2


def test_the_first_configuration_is_the_rival_where_it_has_the_seeds():
    study, _ = logged([SECOND.tolist(), FIRST.tolist(), (SECOND - 3).tolist()])
    best = study.best()
    assert best.number in range(5, 10)
    assert rival(study, best).number == 0


def test_a_band_is_the_interval_of_the_mean_over_seeds():
    study, _ = logged([FIRST.tolist(), [SECOND[0].tolist()]])
    (band,) = seed_bands(study)
    scores = FIRST.mean(axis=1)
    half = 2.7764 * scores.std(ddof=1) / np.sqrt(5)
    assert band.seeds == 5
    assert band.epochs == (3, 9)
    assert (band.low[-1], band.high[-1]) == pytest.approx((scores.mean() - half, scores.mean() + half), abs=1e-3)


def test_the_table_of_classes_names_them_and_has_the_mean_of_each_over_seeds(tmp_path):
    study, tables = logged([FIRST.tolist(), [[*row[:2], None] for row in SECOND.tolist()]])
    write_classes(study, tables, tmp_path)
    with (tmp_path / "tables" / "classes.csv").open(newline="") as file:
        rows = {row["trials"]: row for row in csv.DictReader(file)}
    first, second = rows["0 1 2 3 4"], rows["5 6 7 8 9"]
    assert [float(first[name]) for name in NAMES] == pytest.approx(FIRST.mean(0))
    assert second["dog"] == ""


def with_dog_at(first, second):
    """Two configurations of two seeds; the first is the better one, and ``dog`` has these IoUs in their last epochs."""
    groups = [[[80.0, 70.0, dog] for dog in first], [[60.0, 50.0, dog] for dog in second]]
    study, tables = logged(groups)
    column = tables.history.column_names.index("val/iou/2")
    floored = [max(0.0, value) for value in tables.history["val/iou/2"].to_pylist()]
    history = tables.history.set_column(column, "val/iou/2", [floored])
    return study, replace(tables, history=history)


def test_a_class_that_no_run_of_the_winner_found_is_named_with_who_found_it():
    study, tables = with_dog_at([0.0, 0.0], [0.0, 7.5])
    (found,) = lost_classes(study, tables, study.best())
    assert found.name == "dog"
    assert (found.elsewhere[0], found.elsewhere[1].number) == (7.5, 3)


def test_a_class_that_one_seed_found_is_not_lost():
    study, tables = with_dog_at([0.0, 3.0], [0.0, 0.0])
    assert lost_classes(study, tables, study.best()) == ()


def test_a_class_that_one_evaluation_left_out_is_in_no_mask_and_is_not_lost():
    study, tables = with_dog_at([0.0, 0.0], [0.0, 0.0])
    column = tables.history.column_names.index("val/iou/2")
    values = [None, *tables.history["val/iou/2"].to_pylist()[1:]]
    tables = replace(tables, history=tables.history.set_column(column, "val/iou/2", [values]))
    assert lost_classes(study, tables, study.best()) == ()


def test_the_report_says_that_the_winner_never_found_a_class(undrawn):
    study, tables = with_dog_at([0.0, 0.0], [0.0, 0.0])
    readings = [part.reading for part in class_sections(study, tables, undrawn) if hasattr(part, "reading")]
    assert any("IoU of dog stayed at 0" in text and "No other run found them" in text for text in readings)
