"""The page on noise: what is computed of counts and of recorded runs."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.helpers.noise_recorded import curves, paired_sd, residuals, variance_ratio
from benchmarks.helpers.noise_tables import READINGS, Design, by_scenes, render, within_lists
from benchmarks.helpers.scored_training import miou

FACTORS = ("labelled draw", "initialisation", "order and views")


def counted(rng, scenes=30, classes=3):
    """Counts (3, scenes, classes) of a network that gets about half of the pixels right."""
    real = rng.integers(50, 100, (scenes, classes))
    right = rng.binomial(real, 0.5)
    return np.stack([right, real, real]).astype(np.int32)


def design(rng, levels=2):
    names = {name for chosen in READINGS.values() for name in chosen}
    cells = {cell: {name: counted(rng) for name in names} for cell in np.ndindex(levels, levels, levels)}
    return Design(cells, levels=levels)


def test_the_score_of_counts_is_the_mean_of_class_ious_over_all_scenes():
    counts = np.array([[[8, 0], [2, 1]], [[10, 4], [5, 4]], [[12, 1], [3, 3]]], dtype=np.int32)
    first, second = 10 / (15 + 15 - 10), 1 / (8 + 4 - 1)
    assert miou(counts) == pytest.approx(100 * (first + second) / 2)
    assert miou(counts, np.array([0])) == pytest.approx(100 * (8 / 14 + 0) / 2)


def test_within_lists_pools_the_variances_of_runs_that_share_a_list():
    scores = np.random.default_rng(0).normal(size=(3, 2, 4))
    assert within_lists(scores) ** 2 == pytest.approx(np.mean([one.ravel().var(ddof=1) for one in scores]))


def test_on_all_scenes_the_noise_is_that_of_the_runs_and_fewer_scenes_add_to_it():
    rng = np.random.default_rng(1)
    designs = {"a": design(rng), "b": design(rng)}
    every, few = by_scenes(designs, 30, rng), by_scenes(designs, 3, rng)
    assert every["a"] == pytest.approx(within_lists(designs["a"].scores(("last0",))))
    difference = designs["b"].scores(("last0",)) - designs["a"].scores(("last0",))
    assert every["b - a"] == pytest.approx(within_lists(difference))
    assert all(few[name] > 1.5 * every[name] for name in every)


def test_the_page_has_every_source_every_score_and_both_methods():
    rng = np.random.default_rng(2)
    page = render({"a": design(rng), "b": design(rng)}, FACTORS)
    assert all(f"\n| {name}" in page for name in (*FACTORS, *READINGS))
    assert "| source | a | b | b - a |" in page


def test_residuals_of_paired_scores_hold_neither_the_arms_nor_the_seeds_level():
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(4, 6))
    scores = noise + rng.normal(size=(4, 1)) * 50 + rng.normal(size=6) * 50
    assert residuals(scores) == pytest.approx(residuals(noise))
    two = scores[:2]
    assert paired_sd(two) == pytest.approx((two[1] - two[0]).std(ddof=1))


def test_the_variance_ratios_interval_covers_in_95_percent():
    rng, held = np.random.default_rng(4), 0
    for _ in range(2000):
        shared = rng.normal(size=(3, 7))
        one, other = shared + rng.normal(size=(3, 7)), 2 * (shared + rng.normal(size=(3, 7)))
        _, low, high = variance_ratio(one, other)
        held += low < 0.25 < high
    assert held / 2000 == pytest.approx(0.95, abs=0.015)


def test_curves_are_read_from_the_confirming_runs_of_seeds_that_every_arm_has(tmp_path):
    (tmp_path / "tables").mkdir()
    named = [("t0", None, None), ("c0", "a", 0), ("c1", "b", 0), ("c2", "a", 1), ("c3", "b", 1), ("c4", "a", 2)]
    runs = [{"run_id": run, "arm": arm, "arm_seed": seed} for run, arm, seed in named]
    history = [
        {"run_id": run, "epoch": epoch, "val/miou": None if epoch == 0 else 10.0 * number + epoch}
        for number, (run, _, _) in enumerate(named)
        for epoch in (2, 0, 1)
    ]
    pq.write_table(pa.Table.from_pylist(runs), tmp_path / "tables" / "runs.parquet")
    pq.write_table(pa.Table.from_pylist(history), tmp_path / "tables" / "history.parquet")
    assert curves(tmp_path).tolist() == [[[11, 12], [31, 32]], [[21, 22], [41, 42]]]


def test_a_study_without_a_confirmation_is_refused(tmp_path):
    (tmp_path / "tables").mkdir()
    for name in ("runs", "history"):
        pq.write_table(
            pa.Table.from_pylist([{"run_id": "t0", "arm": None, "arm_seed": None}]),
            tmp_path / "tables" / f"{name}.parquet",
        )
    with pytest.raises(ValueError, match="no confirmation of two configurations"):
        curves(tmp_path)
