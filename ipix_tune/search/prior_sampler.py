"""Who proposes the next configuration: the model, even draws and, where something is believed, prior and incumbent.

In the manner of PriorBand: a new configuration comes from the prior, from the neighbourhood of the incumbent, from the
model (TPE), or from anywhere. The share of the first two falls as trials end, and with the trust that the best trials
so far leave in the prior. `docs/explanation/search.md` has the formulas and what was measured.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np
from optuna import Study
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ipix_tune.config.dimension import from_unit, same, to_unit
from ipix_tune.config.dimension_config import Dimension
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.search.rank_transform import breaks_constraint
from ipix_tune.search.recorded_trials import SOURCE, latest_trials
from ipix_tune.search.unique_sampler import WholeSampler
from ipix_tune.trainer.resources import Value

RANGE_SPREAD, CHOICE_SPREAD = 0.2, 0.5
"""Spread of a prior that gives none, on a range and for a choice."""
NEAR_SPREAD = 0.1
"""Spread of the incumbent's neighbourhood, on a range."""
MUTATED = 0.5
"""Chance that a dimension of the incumbent is drawn anew."""
EXPERT_SHARE, EXPERT_TRIALS = 0.5, 40
"""Share of prior and incumbent at first, and the number of ended trials after which it is half of that."""
ENOUGH = 8
"""Trials that must have a score at an epoch, at least, before they are asked there about the prior."""
ENOUGH_SHARE = 0.3
"""The same as a share of all trials with a score: a few that came far say less than many that came half as far."""
WITNESSES, BEST_SHARE = 2, 0.2
"""Good trials at least, and their share; the incumbent does not count."""
ASKED = 100
"""Trials that are asked at most, at even distances in their order, so that long studies stay fast."""
EVEN_SHARE = 0.2
"""Of all configurations, those drawn evenly whatever is believed or learned: under early stopping they are cheap, and
what a study says of a parameter holds where it has looked."""
SCALES = (1.0, 0.5, 0.25)
"""Draws from prior and neighbourhood are this much narrower, in turn by chance: in many dimensions a draw of full
width is almost surely farther away than the center."""

EVEN = "even"
"""The source of those."""


@dataclass(frozen=True, kw_only=True)
class Belief:
    """Where a dimension's good values are believed to lie: around ``center``, or evenly anywhere (``spread`` None)."""

    dimension: Dimension
    center: Value
    spread: float | None

    def draw(self, rng: np.random.Generator, *, scale: float = 1.0) -> Value:
        """One value, from a distribution narrower by ``scale``."""
        choice = self.dimension.choice
        if choice is not None:
            if self.spread is not None and rng.random() >= scale * self.spread:
                return self.center
            return choice[rng.integers(len(choice))]
        if self.spread is None:
            return from_unit(self.dimension, rng.random())
        bell = self._bell(scale)
        below, above = bell.cdf(0), bell.cdf(1)
        level = min(max(below + rng.random() * (above - below), 1e-12), 1 - 1e-12)
        return from_unit(self.dimension, min(max(bell.inv_cdf(level), 0.0), 1.0))

    def log_density(self, value: Value) -> float:
        """On the scale on which a range is 1 wide."""
        choice = self.dimension.choice
        if choice is not None:
            even = 1 / len(choice)
            if self.spread is None:
                return math.log(even)
            return math.log(self.spread * even + (1 - self.spread) * same(value, self.center))
        if self.spread is None:
            return 0.0
        away = (to_unit(self.dimension, _number(value)) - self._mean) / self.spread
        return -0.5 * away * away - self._log_area

    @cached_property
    def _mean(self) -> float:
        return to_unit(self.dimension, _number(self.center))

    @cached_property
    def _log_area(self) -> float:
        """Logarithm of the untruncated bell's area between 0 and 1, divided by its height."""
        bell = self._bell()
        return math.log(bell.stdev * math.sqrt(2 * math.pi) * (bell.cdf(1) - bell.cdf(0)))

    def _bell(self, scale: float = 1.0) -> NormalDist:
        assert self.spread is not None
        return NormalDist(self._mean, scale * self.spread)


Beliefs = dict[str, Belief]


def prior_of(space: SearchSpace) -> Beliefs:
    """What the study file believes; a dimension without a prior is even."""
    found = {}
    for name, dimension in space.dimensions.items():
        prior = dimension.prior
        default = RANGE_SPREAD if dimension.choice is None else CHOICE_SPREAD
        spread = None if prior is None else (default if prior.spread is None else prior.spread)
        center = None if prior is None else prior.center
        found[name] = Belief(dimension=dimension, center=center, spread=spread)
    return found


def even(space: SearchSpace) -> Beliefs:
    """No belief at all."""
    return {name: Belief(dimension=one, center=None, spread=None) for name, one in space.dimensions.items()}


def near(space: SearchSpace, values: Mapping[str, Value]) -> Beliefs:
    """The neighbourhood of a configuration; a dimension that is inactive in it is even."""
    found = even(space)
    for name, value in values.items():
        dimension = space.dimensions[name]
        spread = NEAR_SPREAD if dimension.choice is None else CHOICE_SPREAD
        found[name] = Belief(dimension=dimension, center=value, spread=spread)
    return found


def log_likelihood(beliefs: Beliefs, values: Mapping[str, Value]) -> float:
    return sum(beliefs[name].log_density(value) for name, value in values.items())


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the trials say at the highest epoch that enough of them have reached: configurations, best first."""

    ranked: list[dict[str, Value]]

    @property
    def incumbent(self) -> dict[str, Value]:
        return self.ranked[0]


def evidence(trials: Sequence[FrozenTrial], *, maximize: bool) -> Evidence | None:
    """What the scores of a study's trials say so far; None while no epoch has enough."""
    scored = [
        trial
        for trial in trials
        if trial.intermediate_values and trial.state != TrialState.FAIL and not breaks_constraint(trial)
    ]
    if len(scored) < ENOUGH:
        return None
    reached = sorted((max(trial.intermediate_values) for trial in scored), reverse=True)
    epoch = reached[max(ENOUGH, math.ceil(ENOUGH_SHARE * len(scored))) - 1]
    there = [trial for trial in scored if epoch in trial.intermediate_values]
    if len(there) < ENOUGH:  # others went past it and have no score there
        return None
    there.sort(key=lambda trial: (trial.intermediate_values[epoch], -trial.number), reverse=maximize)
    return Evidence(ranked=[dict(trial.params) for trial in there])


def support(beliefs: Beliefs, found: Evidence) -> float:
    """By how many standard errors the good trials are likelier under ``beliefs`` than all trials are. Where trials were
    drawn does not matter to it, only which of them turned out well."""
    others = found.ranked[1:]
    thinned = others[:: math.ceil(len(others) / ASKED)]
    good = max(WITNESSES, math.ceil(BEST_SHARE * len(thinned)))
    logs = np.array([log_likelihood(beliefs, values) for values in thinned])
    error = logs.std() / math.sqrt(good)
    return float((logs[:good].mean() - logs.mean()) / error) if error > 1e-9 else 0.0


@dataclass(frozen=True, kw_only=True)
class Trust:
    """How far the prior is believed, 0 to 1, and the prior's part against the incumbent's neighbourhood, 0 to 1."""

    prior: float
    against_incumbent: float


def trust(space: SearchSpace, prior: Beliefs, found: Evidence) -> Trust:
    """What the evidence leaves of the prior."""
    for_prior, for_incumbent = support(prior, found), support(near(space, found.incumbent), found)
    return Trust(prior=_logistic(for_prior), against_incumbent=_logistic(for_prior - for_incumbent))


def _logistic(log_odds: float) -> float:
    return 1 / (1 + math.exp(-min(max(log_odds, -30), 30)))


class MixedSampler(WholeSampler):
    """Draws from the prior, around the incumbent, from ``model`` or evenly.

    `EVEN_SHARE` is drawn evenly. Where no dimension has a prior, the model has the rest. Else the first configuration
    of a study is the prior's center, and with n ended trials prior and incumbent together have the share trust *
    `EXPERT_SHARE` / (1 + n / `EXPERT_TRIALS`), divided between them by :func:`trust`, where trust is 1 before there is
    evidence; the model has the rest.
    """

    def __init__(self, space: SearchSpace, model: BaseSampler, *, seed: int) -> None:
        super().__init__(space, model, seed=seed)
        self._prior = prior_of(space)

    def propose(self, study: Study, trial: FrozenTrial) -> dict[str, Value]:
        source, values = self._proposal(study, trial)
        study._storage.set_trial_system_attr(trial._trial_id, SOURCE, source)
        return values

    def _proposal(self, study: Study, trial: FrozenTrial) -> tuple[str, dict[str, Value]]:
        if trial.number == 0 and self._space.has_priors:
            return "prior", self._space.draw(lambda name, _: self._center(name))
        chance = self._rng.random()
        if chance >= 1 - EVEN_SHARE:
            return EVEN, self._drawn(even(self._space), scale=1.0)
        if not self._space.has_priors:
            return "model", super().propose(study, trial)
        trials = latest_trials(study)  # one that was frozen and has gone on is one trial
        ended = sum(one.state in (TrialState.COMPLETE, TrialState.PRUNED) for one in trials)
        expert = EXPERT_SHARE / (1 + ended / EXPERT_TRIALS)
        found = evidence(trials, maximize=study.directions[0] == StudyDirection.MAXIMIZE)
        if found is None:
            prior_part = 1.0
        else:
            left = trust(self._space, self._prior, found)
            expert *= left.prior
            prior_part = left.against_incumbent
        if chance < expert * prior_part:
            return "prior", self._drawn(self._prior, scale=self._scale())
        if found is not None and chance < expert:
            return "incumbent", self._mutated(found.incumbent)
        return "model", super().propose(study, trial)

    def _scale(self) -> float:
        return SCALES[self._rng.integers(len(SCALES))]

    def _drawn(self, beliefs: Beliefs, *, scale: float) -> dict[str, Value]:
        return self._space.draw(lambda name, _: beliefs[name].draw(self._rng, scale=scale))

    def _center(self, name: str) -> Value:
        belief = self._prior[name]
        return belief.draw(self._rng) if belief.spread is None else belief.center

    def _mutated(self, values: Mapping[str, Value]) -> dict[str, Value]:
        beliefs, scale = near(self._space, values), self._scale()
        names = list(values)
        drawn = {name for name in names if self._rng.random() < MUTATED} or {names[self._rng.integers(len(names))]}

        def value(name: str, _: object) -> Value:
            kept = name in values and name not in drawn
            return values[name] if kept else beliefs[name].draw(self._rng, scale=scale)

        return self._space.draw(value)


def _number(value: Value) -> float:
    assert isinstance(value, int | float)
    return float(value)
