"""A search of another project on one of our problems: its process is asked and told, and the clock and the measure are
ours.

The clock is that of `ipix_tune.study.simulation.simulator`: an epoch of any trial is a virtual second, `CONCURRENT`
workers train at once, and a worker that is free asks at once. A configuration that was paused goes on from where it
was.
"""

import heapq
import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.anytime import BUDGET, Ended, Problem, Race
from benchmarks.helpers.search_problems import CONCURRENT, EPOCHS
from ipix_tune.config.dimension_config import Dimension
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.study.simulation.curve import Curve
from ipix_tune.trainer.resources import Value

AGENTS = Path(__file__).parent / "agents"


class PeerError(Exception):
    """A search of another project failed."""


def neutral(search: Mapping[str, Dimension]) -> list[dict[str, Any]]:
    """A space as `agents/serve.py` describes it, parents first."""
    found = []
    for name, one in search.items():
        allowed = {key: wanted if isinstance(wanted, list) else [wanted] for key, wanted in (one.only_if or {}).items()}
        row: dict[str, Any] = {"name": name, "only_if": allowed}
        if one.choice is not None:
            row |= {"kind": "choice", "choices": list(one.choice)}
        else:
            low, high = getattr(one, one.kind)
            kind = "int" if one.kind in ("int", "logint") else "float"
            row |= {"kind": kind, "low": low, "high": high, "log": one.kind.startswith("log")}
        found.append(row)
    return found


class Agent:
    """The process of another project's search.

    Args:
        python: the interpreter of its environment.
        script: below `AGENTS`.
        errors: the file that gets what it prints.
    """

    def __init__(self, python: Path, script: str, errors: Path) -> None:
        answers, end = os.pipe()
        with errors.open("a") as stream:
            self._process = subprocess.Popen(
                [str(python), str(AGENTS / script), str(end)],
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=stream,
                pass_fds=[end],
                text=True,
                env={**{key: os.environ[key] for key in os.environ if key != "PYTHONPATH"}, "OMP_NUM_THREADS": "1"},
            )
        os.close(end)
        self._answers = os.fdopen(answers)
        self._errors = errors
        self.cpu = 0.0
        """CPU seconds of the process so far; its imports are no part of any race."""
        self._answer()

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._answers.close()

    def question(self, **question: Any) -> Any:
        """Its answer.

        Raises:
            PeerError: it has none.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise PeerError(f"it ended; see {self._errors}") from None
        return self._answer()

    def _answer(self) -> Any:
        line = self._answers.readline()
        answer: Any = json.loads(line) if line else {"error": f"it ended; see {self._errors}"}
        if "error" in answer:
            raise PeerError(answer["error"])
        self.cpu = answer["cpu"]
        return answer["answer"]


@dataclass(kw_only=True)
class _Trial:
    values: dict[str, Value]
    curve: Curve
    done: int = 0
    told: int = 0
    until: int = 0
    runs: bool = False

    def news(self) -> list[float]:
        """Scores that have not been told."""
        scores = [score or 0.0 for score in self.curve.scores[self.told : self.done]]
        self.told = self.done
        return scores


@dataclass(kw_only=True)
class PeerRace:
    """One search on one problem, until its best is worth the target, `BUDGET` epochs are spent or, with ``limit_s``,
    its process has taken more CPU seconds."""

    problem: Problem
    agent: Agent
    race: Race
    limit_s: float = float("inf")
    cut: bool = False
    _trials: dict[int, _Trial] = field(default_factory=dict)
    _heap: list[tuple[float, int, int]] = field(default_factory=list)
    _order: int = 0

    def run(self, variant: str, *, search: Mapping[str, Dimension], prior: Mapping[str, Value] | None) -> Race:
        """Begin the search ``variant`` and follow it to its end."""
        begun, before, seed = time.process_time(), self.agent.cpu, self.problem.seed
        self.agent.question(
            begin=variant, space=neutral(search), seed=seed, epochs=EPOCHS, workers=CONCURRENT, prior=prior
        )
        space, free, now = SearchSpace(self.problem.study(search)), CONCURRENT, 0.0
        while self.race.epochs < BUDGET and not self.race.won and not self.cut:
            free -= self._start(now, free, space)
            if not self._heap:
                raise PeerError("it asks for nothing, and nothing is running")
            now, _, number = heapq.heappop(self._heap)
            free += self._epoch(now, number)
            self.cut = self.agent.cpu - before > self.limit_s
        self.race.seconds = time.process_time() - begun + self.agent.cpu - before
        return self.race

    def _start(self, now: float, free: int, space: SearchSpace) -> int:
        """Ask for the free workers; how many of them have work now."""
        busy = 0
        while busy < free and (asked := self.agent.question(ask=True)) is not None:
            number, values, until = asked
            if number not in self._trials:
                active = {name: values[name] for name in space.active(values)}
                self._trials[number] = _Trial(values=active, curve=self.problem.curves.curve(active))
            trial = self._trials[number]
            if trial.runs:
                raise PeerError(f"it asks for configuration {number}, which is being trained")
            if until <= trial.done:
                self.agent.question(tell=[number, until, [trial.curve.scores[until - 1]]])
                continue
            trial.until, trial.runs = until, True
            self._push(now, number)
            busy += 1
        return busy

    def _push(self, now: float, number: int) -> None:
        heapq.heappush(self._heap, (now + 1.0, self._order, number))
        self._order += 1

    def _epoch(self, now: float, number: int) -> int:
        """An epoch has ended; how many workers are free by it."""
        trial = self._trials[number]
        trial.done += 1
        self.race.epochs += 1
        if trial.done < trial.until:
            self._push(now, number)
            return 0
        if trial.done == EPOCHS:
            score, worth = trial.curve.scores[-1] or 0.0, self.problem.worth(trial.values)
            self.race.ended.append(Ended(epochs=self.race.epochs, score=score, worth=worth))
        further = self.agent.question(tell=[number, trial.done, trial.news()])
        if further is None:
            trial.runs = False
            return 1
        trial.until = further
        self._push(now, number)
        return 0
