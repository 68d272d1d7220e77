"""Which configuration of a study is the best so far: the one rule that report, export, live table, confirmation,
simulation and the keeping of checkpoints share. Stdlib only."""

from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

from analysis.stats.non_dominated import non_dominated

Settings = tuple[tuple[str, str], ...]
"""A configuration without its seeds: names, and values as text, in the order of the names."""

SEED = "seed"
DRAW_SEED = "data.draw.seed"
SINGLE_SEEDS = ("seeds.init", "seeds.order", DRAW_SEED)
"""Seeds of one source of chance each: initial weights; order and views; labelled draw."""
SEEDS = (SEED, *SINGLE_SEEDS)
"""Keys that choose no configuration, only its luck."""


def settings_of(values: Mapping[str, Any]) -> Settings:
    """The configuration that searched ``values`` describe: all of them but the seeds."""
    return tuple(sorted((name, repr(value)) for name, value in values.items() if name not in SEEDS))


def chance_of(values: Mapping[str, Any], seed: Hashable) -> Hashable:
    """By what a run's luck was drawn: its ``seed``, and where ``values`` has seeds of single sources, a tuple of all
    seeds that were searched, in the order of `SEEDS`."""
    if any(name in values for name in SINGLE_SEEDS):
        return tuple(values[name] for name in SEEDS if name in values)
    return seed


INFEASIBLE: Final = "infeasible"
"""State of a trial that broke a constraint of the study."""
NEVER = ("failed", INFEASIBLE)
"""States of trials that never compete."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A trial at its last score.

    Args:
        number: of the trial; lower means earlier.
        settings: its configuration without the seed.
        seed: what :func:`chance_of` gives.
        state: as in `analysis.columns`.
        epoch: the last epoch that has a finite score.
        score: that score, the first objective.
        second_score: the second objective after the same epoch; None where it is not known, or there is none.
    """

    number: int
    settings: Hashable
    seed: Hashable
    state: str
    epoch: int
    score: float
    second_score: float | None = None


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A configuration among those that compete, with the runs that count.

    Args:
        trials: one run for every seed, the earliest first.
        score: mean of the first objective over them.
        second_score: mean of the second; 0 where the study has one objective.
        epoch: the budget at which all that compete are compared.
        full: whether that is the full length.
    """

    trials: tuple[Scored, ...]
    score: float
    second_score: float
    epoch: int
    full: bool

    @property
    def number(self) -> int:
        """Number of the configuration's earliest run, which stands for it."""
        return self.trials[0].number

    @property
    def seeds(self) -> int:
        """Seeds behind the means."""
        return len(self.trials)


class Standings:
    """The configurations of a study in order, the best first, as its trials come in.

    1. A configuration is compared by the mean over its seeds: trials that differ in the seed only are one
       configuration. Of trials with equal seeds, the earliest counts. A mean of few seeds is not held against a
       configuration, since the seeds of a grid come in one after the other: say how many there are.
    2. Only scores at the same budget are compared. Once a trial is complete and has a score for its last epoch, only
       such trials compete. Until then, those compete that have a score after the highest epoch that has any; later
       epochs without a score change nothing.
    3. A failed trial never competes, whatever it scored before, nor does one that breaks a constraint (infeasible), nor
       any other run of its configuration: a mean over the seeds that kept the constraint would look too good. A stopped
       one competes only while none is complete.
    4. With two objectives, a trial competes only if both are known. The front is that of `non_dominated` over the
       means, and the best is its end with the best first objective.
    5. Of equal means the one with the better second objective comes first, then the one with the earliest trial.

    Args:
        max_epochs: full length of a trial.
        sign: of the first objective; 1 where more is better, else -1.
        second_sign: the same of the second objective; None where there is none.
        barred: configurations of which some run breaks a constraint, as :attr:`Scored.settings`.
    """

    def __init__(
        self, *, max_epochs: int, sign: int, second_sign: int | None = None, barred: Collection[Hashable] = ()
    ) -> None:
        self._max_epochs, self._sign, self._second_sign = max_epochs, sign, second_sign
        self._barred = frozenset(barred)
        self._level = (False, 0)
        self._runs: dict[Hashable, dict[Hashable, Scored]] = {}
        self._standing: dict[Hashable, Standing] = {}
        self._best: Hashable = None

    def add(self, trial: Scored) -> bool:
        """Take in a trial, or a newer score of one; returns whether it competes."""
        if trial.state in NEVER or trial.settings in self._barred:
            return False
        if self._second_sign is not None and trial.second_score is None:
            return False
        level = (trial.state == "complete" and trial.epoch == self._max_epochs, trial.epoch)
        if level < self._level:
            return False
        if level > self._level:
            self._level, self._best = level, None
            self._runs.clear()
            self._standing.clear()
        runs = self._runs.setdefault(trial.settings, {})
        if trial.seed not in runs or trial.number <= runs[trial.seed].number:
            runs[trial.seed] = trial
            self._update(trial.settings, tuple(sorted(runs.values(), key=lambda run: run.number)))
        return True

    def _update(self, settings: Hashable, runs: tuple[Scored, ...]) -> None:
        before = self._standing.get(settings)
        self._standing[settings] = Standing(
            trials=runs,
            score=fmean(run.score for run in runs),
            second_score=fmean(run.second_score or 0.0 for run in runs) if self._second_sign is not None else 0.0,
            epoch=self._level[1],
            full=self._level[0],
        )
        rank = self._rank(self._standing[settings])
        if self._best == settings and before is not None and rank > self._rank(before):
            self._best = min(self._standing, key=lambda one: self._rank(self._standing[one]))
        elif self._best is None or rank < self._rank(self._standing[self._best]):
            self._best = settings

    def _rank(self, one: Standing) -> tuple[float, float, int]:
        """The lower, the better."""
        return (-self._sign * one.score, -(self._second_sign or 0) * one.second_score, one.number)

    @property
    def best(self) -> Standing | None:
        """The first of :meth:`ranked`; None while no trial competes."""
        return None if self._best is None else self._standing[self._best]

    def ranked(self) -> list[Standing]:
        """All configurations that compete, the best first."""
        return sorted(self._standing.values(), key=self._rank)

    def front(self) -> list[Standing]:
        """The Pareto front, the best by the first objective first; with one objective, all that share the best mean."""
        ranked = self.ranked()
        points = [(self._sign * one.score, (self._second_sign or 0) * one.second_score) for one in ranked]
        return [one for one, on in zip(ranked, non_dominated(points), strict=True) if on]


def standings(
    trials: Iterable[Scored],
    *,
    max_epochs: int,
    sign: int,
    second_sign: int | None = None,
    barred: Collection[Hashable] = (),
) -> Standings:
    """See :class:`Standings`; in whatever order the trials come, the result is the same. Configurations of infeasible
    ones among them are barred too."""
    known = list(trials)
    broke = {*barred, *(trial.settings for trial in known if trial.state == INFEASIBLE)}
    found = Standings(max_epochs=max_epochs, sign=sign, second_sign=second_sign, barred=broke)
    for trial in known:
        found.add(trial)
    return found


def contenders(
    ended: Iterable[Scored],
    *,
    unsettled: Collection[Hashable],
    top: int,
    max_epochs: int,
    sign: int,
    second_sign: int | None = None,
    barred: Collection[Hashable] = (),
) -> set[int]:
    """Numbers of the ended trials that the study may still name at its end, as the best, as one of the ``top`` or on
    the front. Whatever the other trials will score, no other one that has ended by now can be named.

    A configuration is unsettled while a run of it is running or waiting: its mean may still rise or fall to anything.
    The means of settled ones stand, so that of these only the leading ones can be named.

    Args:
        ended: trials that will not run any more.
        unsettled: configurations without seed, as :attr:`Scored.settings`.
        top: how many of the leading configurations will be named, at least 1.
        max_epochs: as for :class:`Standings`, and so are the signs and ``barred``.
    """
    groups: dict[Hashable, list[Scored]] = {}
    settled: list[Scored] = []
    known = list(ended)
    broke = {*barred, *(trial.settings for trial in known if trial.state == INFEASIBLE)}
    for trial in known:
        if trial.settings in unsettled:
            groups.setdefault(trial.settings, []).append(trial)
        else:
            settled.append(trial)
    fixed = standings(settled, max_epochs=max_epochs, sign=sign, second_sign=second_sign, barred=broke)
    kept = {one.number for one in fixed.ranked()[:top]}
    if second_sign is not None:
        kept |= {one.number for one in fixed.front()}
    for group in groups.values():
        alone = standings(group, max_epochs=max_epochs, sign=sign, second_sign=second_sign, barred=broke).best
        if alone is not None:
            kept.add(alone.number)
    return kept
