"""ASHA whose rungs are keyed by the study's own trial keys, so that a resumed study can fill them again."""

import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from analysis.stats.objective import sign_of
from ipix_tune.search.rungs import bracket_of
from ipix_tune.search.trial_message import TrialMessage
from ipix_tune.search.trial_record import TrialRecord, trial_number


class Asha(FIFOScheduler):
    """Asynchronous successive halving (Li et al. 2020) with one bracket, for Ray Tune, whose own gives a trial another
    name after a resume.

    A rung asks whether a score is among the best 1 in ``reduction`` so far: not below that quantile of those that came
    before. When the searcher learns, almost every new score is, and almost every trial would run in full. With
    ``quota``, a rung lets no more than 1 in ``reduction`` of all its trials go on; the best score so far goes on all
    the same.

    Args:
        mode: max or min.
        max_epochs: full length of a trial, at which nothing is decided.
        grace_epochs: the first rung.
        reduction: one in so many goes on.
        quota: hold each rung to that.
        brackets: kinds of trial; the later a kind, the more rungs do not judge it (`bracket_of`).
    """

    def __init__(
        self,
        *,
        mode: str,
        max_epochs: int,
        grace_epochs: int,
        reduction: int,
        quota: bool = False,
        brackets: int = 1,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._sign = sign_of(mode)
        self._max_epochs, self._reduction, self._quota, self._brackets = max_epochs, reduction, quota, brackets
        self.rungs: dict[int, dict[str, float]] = {}
        """Scores recorded at every rung, by trial key, lowest rung first; the sign is such that more is better."""
        rung = min(grace_epochs, max_epochs)
        while rung <= max_epochs:
            self.rungs[rung] = {}
            rung *= reduction
        self._judges = {rung: position for position, rung in enumerate(self.rungs)}
        self._spared = dict.fromkeys(self.rungs, 0)
        self._ordered: dict[int, list[float]] = {rung: [] for rung in self.rungs}
        self._passed: dict[int, set[str]] = {}
        self._stopped: dict[str, int] = {}

    def replay(self, entries: Iterable[TrialRecord]) -> None:
        """Fill the rungs from what the record has; decisions made then are not made again. A trial that was to be
        stopped when the driver died is stopped when it reports that epoch again."""
        for entry in entries:
            if entry.state == "infeasible":
                continue
            last = max(entry.scores, default=0)
            stopped = entry.state == "stopped" or (entry.state == "running" and entry.stops == last)
            for epoch, score in sorted(entry.scores.items()):
                rung = self._enter(entry.key, epoch, score)[1]
                if rung is not None and self._is_judged(entry.key, rung) and not (stopped and epoch == last):
                    self._passed.setdefault(rung, set()).add(entry.key)
            if stopped and entry.state == "running":
                self._stopped[entry.key] = last

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> str:
        told = TrialMessage.from_result(result)
        if told.score is None or told.epoch is None or told.infeasible is not None:
            return str(TrialScheduler.CONTINUE)
        return self.decide(trial.config["key"], told.epoch, told.score)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: Mapping[str, Any]) -> None:
        if TrialMessage.from_result(result).infeasible is not None:
            self.forget(trial.config["key"])

    def forget(self, key: str) -> None:
        """A trial breaks a constraint: its scores are no bar for others, whose turn it was not to take."""
        for rung in self.rungs:
            if (score := self.rungs[rung].pop(key, None)) is not None:
                del self._ordered[rung][bisect_left(self._ordered[rung], score)]
                self._spared[rung] -= not self._is_judged(key, rung)
            self._passed.get(rung, set()).discard(key)

    def decide(self, key: str, epoch: int, score: float) -> str:
        """Take a trial's score after an epoch, and say whether it goes on: CONTINUE or STOP."""
        if self._stopped.get(key) == epoch:
            return str(TrialScheduler.STOP)
        decision, rung = self._enter(key, epoch, score)
        if rung is None or not self._is_judged(key, rung):
            return str(TrialScheduler.CONTINUE)
        if decision == TrialScheduler.STOP:
            return decision
        if self._quota and not self._has_room(rung, key):
            return str(TrialScheduler.STOP)
        self._passed.setdefault(rung, set()).add(key)
        return decision

    def _enter(self, key: str, epoch: int, score: float) -> tuple[str, int | None]:
        """What the highest rung that the epoch has reached decides, and that rung, if it took the score: a trial enters
        a rung once."""
        rung = max((one for one in self.rungs if one <= epoch), default=None)
        if epoch >= self._max_epochs or not math.isfinite(score) or rung is None or key in self.rungs[rung]:
            return str(TrialScheduler.CONTINUE), None
        below = score * self._sign < self.cutoff(rung)
        self.rungs[rung][key] = score * self._sign
        insort(self._ordered[rung], score * self._sign)
        self._spared[rung] += not self._is_judged(key, rung)
        return str(TrialScheduler.STOP if below else TrialScheduler.CONTINUE), rung

    def cutoff(self, rung: int) -> float:
        """The score, more being better, that the next one has to reach there."""
        return quantile(self._ordered[rung], 1 - 1 / self._reduction) if self._ordered[rung] else -math.inf

    def _has_room(self, rung: int, key: str) -> bool:
        """Whether fewer than 1 in `reduction` of the rung's trials have gone on, or this is the best of them."""
        scores = self.rungs[rung]
        passed = len(self._passed.get(rung, ()))
        judged = len(scores) - self._spared[rung]
        return passed * self._reduction < judged or scores[key] >= self._ordered[rung][-1]

    def _is_judged(self, key: str, rung: int) -> bool:
        """Whether the rung may stop the trial; scores of trials that it may not stop are among those it compares."""
        if self._brackets == 1:
            return True
        return bracket_of(trial_number(key), brackets=self._brackets, reduction=self._reduction) <= self._judges[rung]


def quantile(ordered: Sequence[float], share: float) -> float:
    """NumPy's `percentile` of 100 ``share``, to the bit, of values in order. A rung is asked at every report, and need
    not be sorted each time."""
    place = (len(ordered) - 1) * (100 * share / 100)
    below = math.floor(place)
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    part, apart = place - below, high - low
    return high - apart * (1 - part) if part >= 0.5 else low + apart * part
