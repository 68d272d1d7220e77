"""Freeze and thaw (Swersky et al. 2014): at every rung a trial is stopped, and whenever there is room, either one of
the stopped trials goes on, to the next rung, or a new configuration begins."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from ipix_tune.search.curve_surrogate import CurveSurrogate, Guess
from ipix_tune.search.trial_message import TrialMessage
from ipix_tune.search.trial_record import TrialRecord

CONTINUE, STOP = str(TrialScheduler.CONTINUE), str(TrialScheduler.STOP)


class FreezeThaw(FIFOScheduler):
    """Decides by Thompson sampling: a function is drawn from the posterior of the surrogate, and what gains most on the
    best trial of full length, per epoch to its own end, goes on. The draw depends on the record alone, so that a study
    that is taken up again decides as it would have.

    Args:
        surrogate: gives the sampler's, which seeks its hyperparameters whenever it proposes a configuration.
        levels: the rungs and the full length, in epochs, ascending.
        seed: of the draws.
        records: gives all trials as they are.
    """

    def __init__(
        self,
        surrogate: Callable[[], CurveSurrogate],
        *,
        levels: Sequence[int],
        seed: int,
        records: Callable[[], Sequence[TrialRecord]],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._surrogate_now, self._seed, self._records = surrogate, seed, records
        self._rungs, self._full = tuple(levels[:-1]), levels[-1]
        self._decided: tuple[tuple[bool, int, int, int], str | None] | None = None

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        told = TrialMessage.from_result(result)
        if told.score is None or told.epoch is None or told.infeasible is not None:
            return CONTINUE
        return self.decide(trial.config["key"], told.epoch, told.score)

    def decide(self, key: str, epoch: int, score: float) -> str:
        """Whether the trial goes on at once: CONTINUE or STOP."""
        if epoch not in self._rungs:
            return CONTINUE
        records = self._records()
        known = next((one for one in records if one.key == key), None)
        if known is not None and epoch in known.scores:  # reported again after the driver died: it was decided then
            return STOP if known.stops == epoch == max(known.scores) else CONTINUE
        records = [_reported(one, epoch, score) if one.key == key else one for one in records]
        return CONTINUE if self._chosen(records, begin=True) == key else STOP

    def thaw(self, begin: bool) -> str | None:
        """Key of the stopped trial that goes on; None: a new configuration is worth more. Where none may ``begin``
        any more, a trial goes on that is likely to become the best; None: there is none."""
        return self._chosen(self._records(), begin=begin)

    def _chosen(self, records: Sequence[TrialRecord], *, begin: bool) -> str | None:
        surrogate = self._surrogate_now()
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
        if not begin:
            return self._most_likely(posterior.mean, stopped, records)
        rng = np.random.default_rng([self._seed, 4, len(records), rows])
        guess = posterior.draw(rng)
        best = self._best_end(guess, records)
        chosen, most = None, _gain(posterior.maximum(guess, rng)[1], best, left=self._full)
        for one in stopped:
            if one.key not in guess.ends:
                continue
            gain = _gain(guess.ends[one.key], best, left=self._full - max(one.scores))
            if gain > most:
                chosen, most = one.key, gain
        return chosen

    def _most_likely(self, mean: Guess, stopped: Sequence[TrialRecord], records: Sequence[TrialRecord]) -> str | None:
        ends = {one.key: mean.ends[one.key] for one in stopped if one.key in mean.ends}
        chosen = max(ends, key=ends.__getitem__, default=None)
        best = self._best_end(mean, records)
        return chosen if chosen is not None and (best is None or ends[chosen] > best) else None

    def _best_end(self, guess: Guess, records: Sequence[TrialRecord]) -> float | None:
        ends = [guess.ends[one.key] for one in records if one.state == "complete" and one.key in guess.ends]
        return max(ends, default=None)


def _gain(end: float, best: float | None, *, left: int) -> tuple[float, float]:
    """What orders the possibilities: the gain per epoch left, and where nothing is gained, or there is nothing to gain
    on, the end itself."""
    return (0.0 if best is None else max(end - best, 0.0) / left), end


def _reported(one: TrialRecord, epoch: int, score: float) -> TrialRecord:
    """The trial as it will be in the record if it is stopped now."""
    return replace(one, scores={**one.scores, epoch: score}, state="stopped")
