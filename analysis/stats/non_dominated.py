"""The Pareto front of two objectives: the one rule that report, live table and export share. Stdlib only."""

from collections.abc import Sequence
from itertools import groupby


def non_dominated(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which points are on the Pareto front: no other one is at least as good in both and better in one. More is better
    in both; equal points are on it together. Kung, Luccio and Preparata (1975): sorted by the first, a point is on the
    front where it beats all before it in the second."""
    order = sorted(range(len(points)), key=lambda index: points[index], reverse=True)
    front, best = [False] * len(points), float("-inf")
    for _, group in groupby(order, key=lambda index: points[index][0]):
        equal = list(group)
        top = points[equal[0]][1]
        if top > best:
            best = top
            for index in equal:
                front[index] = points[index][1] == top
    return front
