import numpy as np

from benchmarks.rivals import wrong


class Shifted:
    """A generator whose first group stands ``by`` above the others."""

    def __init__(self, by):
        self._rng = np.random.default_rng(0)
        self._by = by

    def normal(self, mean, spread, count):
        found, self._by = self._rng.normal(mean, spread, count) + self._by, 0
        return found


def test_a_leader_is_apart_where_it_stands_far_above_the_others_and_not_where_all_are_equal():
    assert wrong([6] * 15, np.ones(15), Shifted(20))
    assert not wrong([6] * 15, np.ones(15), Shifted(0))
