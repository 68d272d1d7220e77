import math

import numpy as np
import pytest
from scipy import integrate, stats
from typer.testing import CliRunner

from benchmarks.confirmation import app
from benchmarks.helpers.confirmation_cells import SHARED, calibration, family, mixture_boundary, noise_of, t_statistics
from benchmarks.helpers.confirmation_tables import share, tables


@pytest.mark.parametrize("shape", ["normal", "t4", "skewed"])
def test_noise_has_the_spread_that_was_asked_for_and_shares_what_it_should(shape):
    drawn = noise_of(np.random.default_rng(0), shape, sd=0.5, arms=2, size=(200_000,))
    assert drawn.mean(axis=0) == pytest.approx([0, 0], abs=0.01)
    assert drawn.std(axis=0) == pytest.approx([0.5, 0.5], rel=0.03)
    assert np.corrcoef(drawn.T)[0, 1] == pytest.approx(SHARED, abs=0.02)


@pytest.mark.parametrize("n", [3, 6, 10])
def test_at_the_mixtures_boundary_the_bayes_factor_is_one_over_the_error(n):
    limit = mixture_boundary(0.05, np.array([n]), 4.0)[0]
    if math.isfinite(limit):
        evidence, _ = integrate.quad(
            lambda effect: stats.nct.pdf(limit, n - 1, effect * math.sqrt(n)) * stats.norm.pdf(effect, scale=2), -9, 9
        )
        assert evidence / stats.t.pdf(limit, n - 1) == pytest.approx(20, rel=1e-3)


def test_t_statistics_of_growing_samples_are_scipys():
    differences = np.random.default_rng(0).normal(1, 1, (4, 6))
    found = t_statistics(differences)
    for n in range(2, 7):
        assert found[:, n - 1] == pytest.approx(stats.ttest_1samp(differences[:, :n], 0, axis=1).statistic)


def test_a_large_difference_is_found_in_every_race_with_few_seeds():
    found = calibration(20, noise=0.3, seeds=6, effect=5.0)
    assert found["better"] == found["fixed"] == found["n"]
    assert found["mean_seeds"] < 5


def test_in_a_family_the_best_arms_are_not_lost():
    found = family(3, layout="all pairs of 5", truth="mixed", shape="normal", noise=0.05)
    assert (found["lost"], found["wrong"]) == (0, 0)
    assert found["found"] > 3


def test_a_missed_goal_is_called_missed():
    row = {
        "noise": 0.3, "seeds": 3, "effect": 0.0, "shape": "normal", "n": 1000, "better": 51, "worse": 20,
        "equivalent": 0, "undecided": 929, "mean_seeds": 3.0, "covered": 900, "by_delta": 0, "fixed": 20,
    }  # fmt: skip
    text = "\n".join(
        tables({"calibration": [row], "families": [], "robustness": [], "candidates": [], "enough": [], "curse": []})
    )
    assert "goal at most 5 %: at most 5.1 ± 0.7 % (noise 0.3, 3 seeds), missed" in text
    assert "with chance 0.00: missed" in text


def test_a_share_that_was_never_seen_still_has_an_error():
    assert share(0, 2000) == "0.0 ± 0.0"
    assert share(100, 2000) == "5.0 ± 0.5"


def test_cells_that_are_there_are_not_simulated_again(tmp_path):
    def run():
        return CliRunner().invoke(app, ["run", "robustness", "--repetitions", "10", "--pieces", str(tmp_path)])

    first = run()
    written = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert first.exit_code == 0
    assert len(written) == 12
    assert run().exit_code == 0
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written


def test_what_a_person_wrote_below_the_tables_is_kept(tmp_path):
    out = tmp_path / "page.md"
    out.write_text("old tables\n\n## What this says\n\n- Words.\n")
    for _ in range(2):
        assert CliRunner().invoke(app, ["render", "--out", str(out), "--pieces", str(tmp_path)]).exit_code == 0
    text = out.read_text()
    assert "old tables" not in text
    assert text.endswith("\n\n## What this says\n\n- Words.\n")
