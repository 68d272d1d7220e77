"""What the study has seen, as draws from the posterior of the score at full budget: the model is in
`analysis.stats.sensitivity.gp_likelihood`, the draws are made in `posterior_draws`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from analysis.compute.cache import Digested
from analysis.stats.sensitivity.anova_basis import Basis, Floats
from analysis.stats.sensitivity.collapsed_runs import collapsed_rows, evidence, suspects
from analysis.stats.sensitivity.gp_likelihood import Model
from analysis.stats.sensitivity.posterior_draws import DRAWS, Draws, draw
from analysis.stats.sensitivity.posterior_mode import find_mode
from analysis.stats.sensitivity.surrogate_data import Data, gather, without
from analysis.stats.study import StudyTrials, Trial

ROUNDS = 12
"""Most rounds of fitting and looking for collapsed runs."""


@dataclass(frozen=True, kw_only=True)
class Surrogate(Digested):
    """``weights`` (draws, width): of the basis' functions. ``level`` (draws,): mean over the space. ``ends`` (draws,
    trials): what the run of each trial would have come to at full budget, but for ``noise`` (draws,), the standard
    deviation of one epoch's score around it; ``seeds`` (draws,): of runs of one configuration that differ in the seed
    only, and ``apart`` (draws, levels): the same after each of ``levels`` epochs. All are scores of the study's own
    sign and unit. ``mode``: theta at the posterior's mode. ``pool``: of how many trials ``trials`` were drawn, see
    `surrogate_data.sample`. ``out`` (rows,): the rows of collapsed runs, which do not count, and ``collapsed`` the
    positions of these runs in ``trials``."""

    study: StudyTrials
    basis: Basis
    trials: tuple[Trial, ...]
    levels: tuple[int, ...]
    pool: int
    rows: int
    fixed: tuple[str, ...]
    weights: Floats
    level: Floats
    ends: Floats
    noise: Floats
    seeds: Floats
    apart: Floats
    mode: Floats
    out: NDArray[np.bool_]
    collapsed: tuple[int, ...]

    @property
    def complete(self) -> int:
        """Trials with a score at full budget."""
        return sum(self.study.max_epochs in trial.curve for trial in self.trials)

    @cached_property
    def alone(self) -> "Surrogate":
        """The same in a study of its own trials: what a figure is drawn from that shows no others."""
        return replace(self, study=replace(self.study, trials=self.trials))

    def at(self, configs: Sequence[Mapping[str, Any]]) -> Floats:
        """Scores at full budget without noise, (draws, configs)."""
        found: Floats = self.level[:, None] + self.weights @ self.basis.features(configs).T
        return found


def fit(study: StudyTrials, *, draws: int = DRAWS, seed: int = 0) -> Surrogate | None:
    """The surrogate of a study; None with fewer than `LEAST` scored trials, or where nothing varies."""
    data = gather(study)
    if data is None or study.max_epochs not in data.levels:
        return None
    data, mode = settle(data)
    return drawn(study, data, draw(data, mode, draws=draws, seed=seed))


def settle(data: Data) -> tuple[Data, Floats]:
    """The data with the rows of collapsed runs silenced (see `analysis.stats.sensitivity.collapsed_runs`), and the
    mode.

    Both are sought in turns until no row changes sides, once from all rows and, where some stand far below the others,
    once without these: several collapsed runs can hide each other in the first, and the second can take a bad region
    for collapsed runs. The likelier of the two is kept.
    """
    with threadpool_limits(1, user_api="blas"):
        found = [_settled(data)]
        if (low := suspects(data.rows)).any():
            found.append(_settled(without(data, low)))
    _, kept, mode = max(found, key=lambda one: one[0])
    return kept, mode


def _settled(data: Data) -> tuple[float, Data, Floats]:
    """From one assignment: its evidence at the end, the data and the mode."""
    mode, seen = None, {data.out.tobytes()}
    for _ in range(ROUNDS):
        model = Model(data.basis, data.rows)
        mode = find_mode(model, start=mode)
        out, density = collapsed_rows(model, mode)
        if out.tobytes() in seen:
            break
        seen.add(out.tobytes())
        data = without(data, out)
    assert mode is not None
    return evidence(model, mode, density, data.scale), data, mode


def drawn(study: StudyTrials, data: Data, draws: Draws) -> Surrogate:
    """The surrogate that the draws make."""
    return Surrogate(
        study=study,
        basis=data.basis,
        trials=data.trials,
        pool=data.pool,
        levels=data.levels,
        rows=len(data.rows.scores),
        fixed=data.fixed,
        weights=study.sign * draws.weights,
        level=study.sign * draws.level,
        ends=study.sign * draws.ends,
        noise=draws.noise,
        seeds=draws.seeds,
        apart=draws.apart,
        mode=draws.mode,
        out=data.out,
        collapsed=tuple(sorted({int(one) for one in data.rows.who[data.out]})),
    )
