"""Labels of logarithmic axes."""

import math
import re
from collections.abc import Sequence

from matplotlib.axis import Axis
from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter

SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MOST_LABELS, FEW_LABELS = 5, 4
"""On a logarithmic axis: of powers of ten, and of other values, which are wider."""


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Labels of a logarithmic axis, few enough for a small panel, as plain text: matplotlib sets mathematical text
    several times as slowly."""
    powers = _between(low, high, (1,))
    if len(powers) >= 2:
        every = math.ceil(len(powers) / MOST_LABELS)
        shown, labels = powers[::every], [_power_of_ten(power) for power in powers[::every]]
    else:
        rounds = (_between(low, high, digits) for digits in ((1, 2, 5), (1, 3), (1,)))
        shown = next((some for some in rounds if 2 <= len(some) <= FEW_LABELS), [low, high])
        labels = [_short(value) for value in shown]
    axis.set_major_locator(FixedLocator(shown))
    axis.set_major_formatter(FixedFormatter(labels))
    axis.set_minor_formatter(NullFormatter())


def _between(low: float, high: float, digits: Sequence[int]) -> list[float]:
    """The digits times powers of ten from ``low`` to ``high``, both of which may have been rounded."""
    exponents = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    values = (digit * 10.0**exponent for exponent in exponents for digit in digits)
    return [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]


def _power_of_ten(value: float) -> str:
    return f"10{str(round(math.log10(value))).translate(SUPERSCRIPT)}"


def _short(value: float) -> str:
    return re.sub(r"e([-+])0*", lambda found: "e" + found[1].strip("+"), f"{value:.3g}")
