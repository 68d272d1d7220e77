"""Freeze and thaw (Swersky et al. 2014): at every rung a trial is stopped, and whenever there is room, either one of
the stopped trials goes on, to the next rung, or a new configuration begins."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from ipix_tune.search.curve_surrogate import CurveSurrogate, Guess
from ipix_tune.search.prior_sampler import EVEN
from ipix_tune.search.trial_message import TrialMessage
from ipix_tune.search.trial_record import TrialRecord, trial_number

EXPLORED = 0.15
"""Share of a study's epochs that go to evenly drawn trials which run in full whatever they score. Without them, where
early scores mislead, nothing would ever show it: what looks bad early would never be seen late."""
CONTINUE, STOP = str(TrialScheduler.CONTINUE), str(TrialScheduler.STOP)


class FreezeThaw(FIFOScheduler):
    """Decides by Thompson sampling: a function is drawn from the posterior of the surrogate, and what gains most on the
    best trial of full length, per epoch to its own end, goes on. The draw depends on the record alone, so that a study
    that is taken up again decides as it would have.

    Args:
        fitted: gives the sampler's surrogate, fitted to these trials and kept so.
        levels: the rungs and the full length, in epochs, ascending.
        seed: of the draws.
        records: gives all trials as they are.
        may_begin: whether the study has room for a new configuration.
        believed: whether the study's first trial is what its author would bet on, a point or the priors' center. It
            then runs in full without a pause: until a trial has, the others have nothing to be compared with.
    """

    def __init__(
        self,
        fitted: Callable[[Sequence[TrialRecord]], CurveSurrogate],
        *,
        levels: Sequence[int],
        seed: int,
        records: Callable[[], Sequence[TrialRecord]],
        may_begin: Callable[[], bool],
        believed: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._fitted, self._seed, self._records, self._may_begin = fitted, seed, records, may_begin
        self._rungs, self._full, self._believed = tuple(levels[:-1]), levels[-1], believed
        self._decided: tuple[tuple[bool, int, int, int], str | None] | None = None

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        told = TrialMessage.from_result(result)
        if told.score is None or told.epoch is None or told.infeasible is not None:
            return CONTINUE
        return self.decide(trial.config["key"], told.epoch, told.score)

    def decide(self, key: str, epoch: int, score: float) -> str:
        """Whether the trial goes on at once: CONTINUE or STOP."""
        if epoch not in self._rungs or (self._believed and trial_number(key) == 0):
            return CONTINUE
        records = self._records()
        known = next((one for one in records if one.key == key), None)
        if known is not None and epoch in known.scores:  # reported again after the driver died: it was decided then
            return STOP if known.stops == epoch == max(known.scores) else CONTINUE
        records = [_reported(one, epoch, score) if one.key == key else one for one in records]
        if known is not None and self._explores(known, epoch, records):
            return CONTINUE
        return CONTINUE if self._chosen(records, begin=self._may_begin()) == key else STOP

    def _explores(self, own: TrialRecord, epoch: int, records: Sequence[TrialRecord]) -> bool:
        """Whether the trial is one of the evenly drawn ones that run in full (`EXPLORED`). It is known by never having
        been frozen, so that a study that is taken up again knows it too."""
        if not _even_throughout(own):
            return False
        first = self._rungs[0]
        if epoch > first:
            return True
        explored = sum(_even_throughout(one) and max(one.scores, default=0) > first for one in records)
        return (explored + 0.5) * self._full <= EXPLORED * sum(max(one.scores, default=0) for one in records)

    def thaw(self, begin: bool) -> str | None:
        """Key of the stopped trial that goes on; None: a new configuration is worth more. Where none may ``begin``
        any more, a trial goes on that may become better than those that run and the best complete one; None: there is
        none."""
        return self._chosen(self._records(), begin=begin)

    def _chosen(self, records: Sequence[TrialRecord], *, begin: bool) -> str | None:
        surrogate = self._fitted(records)
        stopped = [one for one in surrogate.scored(records) if one.state == "stopped"]
        if not stopped:
            return None
        if surrogate.theta is None:
            return None if begin else max(stopped, key=surrogate.standing).key
        rows = sum(len(one.scores) for one in records)
        moment = (begin, len(records), len(stopped), rows)
        if self._decided is None or self._decided[0] != moment:
            self._decided = moment, self._drawn(surrogate, records, stopped, begin=begin, rows=rows)
        return self._decided[1]

    def _drawn(
        self,
        surrogate: CurveSurrogate,
        records: Sequence[TrialRecord],
        stopped: Sequence[TrialRecord],
        *,
        begin: bool,
        rows: int,
    ) -> str | None:
        posterior = surrogate.given(records)
        rng = np.random.default_rng([self._seed, 4, len(records), len(stopped), rows])
        if not begin:
            running = [one for one in records if one.state == "running"]
            guess = posterior.draw(rng) if running else posterior.mean
            return _better(guess, stopped, than=_best_end(guess, [*_complete(records), *running]))
        guess = posterior.draw(rng)
        best = _best_end(guess, _complete(records))
        chosen, most = None, _gain(posterior.maximum(guess, rng)[1], best, left=self._full)
        for one in stopped:
            if one.key not in guess.ends:
                continue
            gain = _gain(guess.ends[one.key], best, left=self._full - max(one.scores))
            if gain > most:
                chosen, most = one.key, gain
        return chosen


def _better(guess: Guess, stopped: Sequence[TrialRecord], *, than: float | None) -> str | None:
    ends = {one.key: guess.ends[one.key] for one in stopped if one.key in guess.ends}
    chosen = max(ends, key=ends.__getitem__, default=None)
    return chosen if chosen is not None and (than is None or ends[chosen] > than) else None


def _even_throughout(one: TrialRecord) -> bool:
    return one.source == EVEN and not one.again


def _complete(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    return [one for one in records if one.state == "complete"]


def _best_end(guess: Guess, records: Sequence[TrialRecord]) -> float | None:
    return max((guess.ends[one.key] for one in records if one.key in guess.ends), default=None)


def _gain(end: float, best: float | None, *, left: int) -> tuple[float, float]:
    """What orders the possibilities: the gain per epoch left, and where nothing is gained, or there is nothing to gain
    on, the end itself."""
    return (0.0 if best is None else max(end - best, 0.0) / left), end


def _reported(one: TrialRecord, epoch: int, score: float) -> TrialRecord:
    """The trial as it will be in the record if it is stopped now."""
    return replace(one, scores={**one.scores, epoch: score}, state="stopped")
