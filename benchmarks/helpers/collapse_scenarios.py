"""The noise and the collapses under which verdicts are simulated."""

DEPTH = (5.0, 10.0)
"""Of a collapse, uniform, in units of the objective."""


RATES = (0.02, 0.05, 0.1, 0.2)


SCENARIOS = (
    "Gaussian", "pairs correlated .9", "variance 4:1", "variance 16:1", "skewed in one arm", "skewed in both",
    "rounded to 0.1", "rounded to 0.5",
    *(f"collapses of {100 * rate:g} % {where}" for where in ("in one arm", "in both", "shared") for rate in RATES),
)  # fmt: skip


EFFECTS = (0.0, 0.4, 0.6)


WINNERS = ("Gaussian", "skewed in both", "collapses of 2 % in both", "collapses of 10 % in both")


EXTENSIONS = (20, 30)
