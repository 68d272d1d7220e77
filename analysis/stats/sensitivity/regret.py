"""What a search has left to gain: how much better the best configuration of the space is than the leading one, by the
surrogate, against what seeds differ by.

The regret of a function f over the space is max f - f(leading configuration). Its mean over draws of f from the
surrogate's posterior is what further search can gain at most, as far as the trials say. Below what seeds of one
configuration differ by, a gain cannot be told from luck (as in Makarova et al. 2022, who bound the regret instead).
"""

import math
from dataclasses import dataclass

import numpy as np

from analysis.stats.sensitivity.anova_basis import Basis, Floats
from analysis.stats.sensitivity.posterior_draws import draw_at_mode
from analysis.stats.sensitivity.stopped_early import seed_noise_at
from analysis.stats.sensitivity.surrogate import settle
from analysis.stats.sensitivity.surrogate_data import gather
from analysis.stats.study import StudyTrials

DRAWS = 64
EVEN, NEAR, LEADERS = 600, 150, 4
"""Configurations over which the maximum is taken: drawn evenly, and near each of the leading ones."""
WIDTHS = (0.2, 0.05)
"""Spreads of the latter on a range, which is 1 wide."""
MOVED = 0.5
"""Chance that one of their values is moved."""
RUNS_MORE = 4
"""Runs beyond the first of their configuration from which what seeds differ by is measured, not modelled."""


@dataclass(frozen=True, kw_only=True)
class Regret:
    """``expected``: what is left to gain, in the unit of the score. ``noise``: standard deviation of runs of one
    configuration with several seeds at full length; ``runs``: by how many it was measured, 0: the surrogate's."""

    expected: float
    noise: float
    runs: int

    @property
    def below_noise(self) -> bool:
        """Whether what is left cannot be told from luck."""
        return self.expected < self.noise


def regret(study: StudyTrials, *, seed: int = 0) -> Regret | None:
    """Of the study as it stands; None without a surrogate (`surrogate.fit`) or a trial of full length."""
    leader, data = study.best(), gather(study)
    if leader is None or leader.state != "complete" or data is None or study.max_epochs not in data.levels:
        return None
    data, mode = settle(data)
    draws = draw_at_mode(data, mode, draws=DRAWS, seed=seed)
    leading = [study.by_number[one.number].values for one in study.ranked[:LEADERS]]
    features = candidates(data.basis, leading, np.random.default_rng(seed))
    found = draws.weights @ features.T
    own = found[:, 0]
    measured = seed_noise_at(study, study.max_epochs)
    known = measured is not None and measured.runs - measured.configs >= RUNS_MORE
    return Regret(
        expected=float((found.max(axis=1) - own).mean()),
        noise=measured.value if known and measured is not None else float(draws.seeds[0]),
        runs=measured.runs if known and measured is not None else 0,
    )


def candidates(basis: Basis, leading: list[dict[str, object]], rng: np.random.Generator) -> Floats:
    """Features (n, width) of the leading configurations, the best first, of some near them, and of others."""
    own, _ = basis.units(leading)
    near = np.repeat(own, NEAR, axis=0)
    moved = rng.random(near.shape) < MOVED
    width = rng.choice(WIDTHS, size=(len(near), 1))
    fresh = basis.places(rng, len(near))
    ranged = np.array([axis.choices is None for axis in basis.axes])
    shifted = np.clip(near + width * rng.standard_normal(near.shape), 0, 1)
    near = np.where(moved, np.where(ranged, shifted, fresh), near)
    places = np.concatenate([own, near, basis.places(rng, EVEN)])
    active = basis.active(places)
    return basis.joined([basis.single(i, places[:, i], active[:, i]) for i in range(len(basis.axes))])


def say(found: Regret) -> str:
    """In one clause."""
    digits = max(0, 2 - math.floor(math.log10(found.noise))) if found.noise > 0 else 2
    by = f"measured over {found.runs} runs" if found.runs else "by the surrogate"
    return (
        f"further search can be expected to gain {found.expected:.{digits}f}, and runs of one configuration differ by "
        f"{found.noise:.{digits}f} between seeds ({by})"
    )
