import numpy as np
import pytest

from benchmarks.helpers.many_trials_report import WARM, growth


def looks(*, piece, first, last, level, slope, noise=0.0):
    rng = np.random.default_rng(piece)
    return [
        {"piece": piece, "ended": ended, "rss_mib": level + slope * ended + noise * rng.standard_normal()}
        for ended in range(first, last + 1)
    ]


def test_the_growth_of_one_driver_is_numpys_line_through_what_came_after_the_warm_up():
    rows = looks(piece=0, first=0, last=100, level=800, slope=0.1, noise=1.0)
    later = [row for row in rows if row["ended"] >= WARM * 100]
    slope, low, high = growth(rows, "rss_mib")
    assert slope == pytest.approx(np.polyfit([row["ended"] for row in later], [row["rss_mib"] for row in later], 1)[0])
    assert low < slope < high


def test_a_driver_that_goes_on_has_a_level_of_its_own():
    rows = [
        *looks(piece=0, first=0, last=100, level=800, slope=0.1),
        *looks(piece=1, first=100, last=200, level=600, slope=0.1),
    ]
    assert growth(rows, "rss_mib") == pytest.approx((0.1, 0.1, 0.1))
