"""A trial of the journal or of the board, as the rule of the best (`analysis.stats.best`) takes it."""

import math
from collections.abc import Mapping
from typing import Any

from analysis.columns import State
from analysis.stats.best import SEED, Scored, chance_of, settings_of


def scored(
    key: str, values: Mapping[str, Any], *, state: State, epoch: int, score: float | None, against: float | None
) -> Scored | None:
    """The trial; None where it has no finite score.

    Args:
        key: such as t0003: a letter and the number.
        values: the searched leaves that are active in it.
        state: how it stands.
        epoch: of its last score.
        score: that score.
        against: the second objective after that epoch.
    """
    if score is None or not math.isfinite(score):
        return None
    return Scored(
        number=trial_number(key),
        settings=settings_of(values),
        seed=chance_of(values, values.get(SEED)),
        state=state,
        epoch=epoch,
        score=score,
        against=against if against is not None and math.isfinite(against) else None,
    )


def trial_number(key: str) -> int:
    """3 of t0003."""
    return int(key[1:])
