import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.search_quality import METHODS, problem, quartiles, render, search_of, with_prior


@given(values=st.lists(st.floats(0, 1e6), min_size=1, max_size=40))
def test_quartiles_are_numpys(values):
    assert quartiles(values) == pytest.approx(tuple(np.percentile(values, [25, 50, 75])))


def test_searches_that_never_got_there_count_as_the_largest():
    assert quartiles([1.0, math.inf, 2.0, math.inf, 3.0]) == (2.0, 3.0, math.inf)


def test_a_misleading_prior_is_worse_than_a_good_one():
    curves = problem("power", 7)
    plain = search_of(curves)

    def score(good):
        search = with_prior(curves, plain, good=good, rng=random.Random(0))
        return curves.curve({name: dimension.prior.center for name, dimension in search.items()}).scores[-1]

    assert score(good=True) > score(good=False) + 10


def test_a_missed_goal_is_called_missed():
    rows = [dict(zip(METHODS, (800.0, 200.0, 100.0, 101.0, 151.0), strict=True)) for _ in range(3)]
    text = render({"power": rows}, command="x", took_s=1)
    assert "1/7.9, missed" in text
    assert "1.51 times at the median, missed there" in text
