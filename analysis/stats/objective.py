"""What a study maximises or minimises, and the sign that makes more of it better. Stdlib only."""

from dataclasses import dataclass

_SIGNS = {"max": 1, "min": -1}


def sign_of(mode: str) -> int:
    """1 for `max`, where more is better, and -1 for `min`: scores times this are such that more is better.

    Raises:
        KeyError: ``mode`` is neither.
    """
    return _SIGNS[mode]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A metric, and whether more of it is better (``mode`` max) or less (min)."""

    metric: str
    mode: str

    @property
    def sign(self) -> int:
        """1 where more is better, else -1."""
        return sign_of(self.mode)
