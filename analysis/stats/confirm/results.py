"""What a confirmation found, from the tables alone: scores by arm and seed, the verdicts, the arm to export."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from analysis.columns import CONFIRM, PARAM_PREFIX
from analysis.errors import PlanError
from analysis.ingest.tables import Tables
from analysis.stats import constraints
from analysis.stats.confirm.lost_runs import Lost
from analysis.stats.confirm.race_plan import RacePlan
from analysis.stats.confirm.seed_race import Judgement, judge
from analysis.stats.confirm.winner import Winner, choose
from analysis.stats.distributions import student_above
from analysis.stats.objective import sign_of
from analysis.stats.study import with_unit

OFFICIAL = "final/last/miou"
UNKNOWN_SPLIT = "unknown"
"""Stands for a split's hash where the trainer reported none."""
"""Score on the validation set that the trainer's config names (`data.val`), with the last weights."""
LEVEL = 0.95
"""Simultaneous coverage of the intervals of all arms' means, so that it also holds for the winner's."""


@dataclass(frozen=True, kw_only=True)
class ArmMean:
    """A mean over the seeds of typical runs, which were not lost, with its t interval, of this arm alone: for a
    difference the paired intervals of the verdicts are the ones to read. Without a spread (one seed) the interval is
    infinite. ``level``: its coverage; the means of an `ArmResult` have one that makes the intervals of all arms hold
    together with probability `LEVEL`."""

    seeds: int
    value: float
    low: float
    high: float
    level: float = LEVEL


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """One arm. ``scores`` and ``official`` map seed numbers to the objective and to the mIoU on the validation set that
    `data.val` names, both in the last epoch, of all runs that ended; ``values`` are the searched leaves that are active
    in it."""

    name: str
    roles: tuple[str, ...]
    of: tuple[str, ...]
    changes: dict[str, Any]
    trial: str | None
    values: dict[str, Any]
    scores: dict[int, float]
    official: dict[int, float]
    failed: tuple[int, ...]
    unfinished: int
    runtime_s: float
    """Seconds of all its runs together, failed and unfinished ones included."""
    runs: tuple[dict[str, Any], ...]
    """Rows of the table `runs` that ``scores`` come from, by seed."""
    lost: Lost = field(default_factory=Lost)
    """Its runs that collapsed or failed, with the exact interval of their share."""
    breaks: str = ""
    """Which constraint of the study its runs break, with the worst figure; empty where none."""
    arms: int = 1
    """Number of arms for which the intervals of the means are simultaneous."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Short hashes of the splits that ``scores`` come from, each once, by seed."""
        return tuple(dict.fromkeys((row["split_hash"] or UNKNOWN_SPLIT)[:12] for row in self.runs))

    @property
    def mean(self) -> ArmMean | None:
        """Of the objective over typical runs; the interval holds together with those of all other arms (Bonferroni),
        and so does that of the arm that wins."""
        return self._mean(self.scores)

    @property
    def official_mean(self) -> ArmMean | None:
        """The same of the validation set that `data.val` names. The winner was chosen on scores that go along with
        these (correlation .94 over seeds), so its own is no untouched estimate."""
        return self._mean(self.official)

    def _mean(self, scores: dict[int, float]) -> ArmMean | None:
        typical = {seed: one for seed, one in scores.items() if seed not in self.lost.collapsed}
        return mean_of(typical, level=1 - (1 - LEVEL) / self.arms)


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """A confirmation as far as it has come. ``choice`` is None while no arm leads; by `prefer` of the study."""

    study: str
    metric: str
    mode: str
    max_epochs: int
    plan: RacePlan
    prefer: str
    arms: tuple[ArmResult, ...]
    judgement: Judgement
    choice: Winner | None

    @property
    def sign(self) -> int:
        """1 where more is better, else -1."""
        return sign_of(self.mode)

    def arm(self, name: str) -> ArmResult:
        return next(arm for arm in self.arms if arm.name == name)

    def rival(self, name: str) -> str | None:
        """The arm to hold ``name`` against: the same with a part switched off, else the defaults, else the first that
        it is compared with; None where there is none."""
        beside = [
            one.other if one.arm == name else one.arm for one in self.judgement.verdicts if name in (one.arm, one.other)
        ]
        ablated = [one for one in beside if name in self.arm(one).of and "ablated" in self.arm(one).roles]
        defaults = [one for one in beside if "defaults" in self.arm(one).roles]
        return next(iter([*ablated, *defaults, *beside]), None)

    @property
    def runs(self) -> int:
        """Runs that ended with a score."""
        return sum(len(arm.scores) for arm in self.arms)


def confirmed(tables: Tables) -> Confirmed | None:
    """The confirmation in the tables; None where there was none."""
    shared = tables.facts.get(CONFIRM)
    if shared is None:
        return None
    rows = [row for row in tables.runs.to_pylist() if row["phase"] == CONFIRM and row["arm"] in shared["arms"]]
    official, broken = _official(tables), broken_by(tables)
    arms = tuple(
        replace(
            _result(name, known, [row for row in rows if row["arm"] == name], official),
            breaks=_breaks(tables, [broken.get(row["run_id"], {}) for row in rows if row["arm"] == name]),
        )
        for name, known in shared["arms"].items()
    )
    plan = plan_of(shared["plan"])
    metric, mode = with_unit(rows[0]["metric"], tables), rows[0]["mode"]
    barred = tuple(arm.name for arm in arms if arm.breaks)
    judgement = judge(
        {arm.name: arm.scores for arm in arms},
        plan,
        sign=sign_of(mode),
        failed=[(arm.name, seed) for arm in arms for seed in arm.failed],
        barred=barred,
        metric=metric,
    )
    arms = tuple(replace(arm, lost=judgement.lost.get(arm.name, Lost()), arms=len(arms)) for arm in arms)
    return Confirmed(
        study=rows[0]["study"],
        metric=metric,
        mode=mode,
        max_epochs=max(row["max_epochs"] for row in rows),
        plan=plan,
        prefer=shared["prefer"],
        arms=arms,
        judgement=judgement,
        choice=_choice(judgement, order=shared["order"], prefer=shared["prefer"], barred=barred),
    )


def broken_by(tables: Tables) -> dict[str, dict[str, float]]:
    """By run the constrained metrics that broke their constraint after any epoch, with the worst value of each."""
    bounds = tables.facts.get("constraints") or {}
    names = [name for name in bounds if name in tables.history.column_names]
    length = (tables.facts.get("scheduler") or {}).get("max_epochs")
    found: dict[str, dict[str, float]] = {}
    columns = [tables.history[name].to_pylist() for name in ("run_id", "epoch", *names)]
    for run_id, epoch, *values in zip(*columns, strict=True):
        known = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        beyond = constraints.broken(bounds, constraints.measured(bounds, known, last=epoch == length))
        if beyond:
            found[run_id] = constraints.worse(bounds, found.get(run_id, {}), beyond)
    return found


def _breaks(tables: Tables, runs: Sequence[dict[str, float]]) -> str:
    """Of an arm with these runs."""
    bounds = tables.facts.get("constraints") or {}
    worst: dict[str, float] = {}
    for run in runs:
        worst = constraints.worse(bounds, worst, run)
    if not worst:
        return ""
    count = sum(bool(run) for run in runs)
    return f"{constraints.said(bounds, worst)} ({count} of {len(runs)} runs)"


def plan_of(logged: dict[str, Any]) -> RacePlan:
    """The plan that W&B's config has under `confirm.plan`."""
    pairs = tuple((arm, other) for arm, other in logged["comparisons"])
    known = {"kept": frozenset(logged["kept"]), "extensions": tuple(logged.get("extensions", ()))}
    return RacePlan(**{**logged, "comparisons": pairs, **known})


def mean_of(scores: dict[int, float], *, level: float = LEVEL) -> ArmMean | None:
    """None without a score."""
    values = np.array(list(scores.values()))
    if not len(values):
        return None
    half = math.inf
    if len(values) > 1:
        half = float(student_above((1 - level) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    value = float(values.mean())
    return ArmMean(seeds=len(values), value=value, low=value - half, high=value + half, level=level)


def _choice(judgement: Judgement, *, order: list[str], prefer: str, barred: tuple[str, ...]) -> Winner | None:
    try:
        return choose(judgement, order=order, simplest=prefer == "simplest", barred=barred)
    except PlanError:
        return None


def _official(tables: Tables) -> dict[str, float]:
    """By run."""
    if OFFICIAL not in tables.history.column_names:
        return {}
    columns = (tables.history[name].to_pylist() for name in ("run_id", OFFICIAL))
    return {run_id: score for run_id, score in zip(*columns, strict=True) if score is not None}


def _result(name: str, known: dict[str, Any], rows: list[dict[str, Any]], official: dict[str, float]) -> ArmResult:
    """Only a run that ended with all its epochs has a score; one that was cut off will be gone on with."""
    scored = sorted(
        (row for row in rows if row["state"] == "complete" and row["objective"] is not None),
        key=lambda row: row["arm_seed"],
    )
    failed = tuple(sorted(row["arm_seed"] for row in rows if row["state"] == "failed"))
    first = min(rows, key=lambda row: row["arm_seed"], default=None)
    return ArmResult(
        name=name,
        roles=tuple(known["roles"]),
        of=tuple(known["of"]),
        changes=known.get("changes") or {},  # W&B drops an empty mapping where pictures are logged
        trial=known["trial"],
        values={}
        if first is None
        else {
            key.removeprefix(PARAM_PREFIX): value
            for key, value in first.items()
            if key.startswith(PARAM_PREFIX) and value is not None
        },
        scores={row["arm_seed"]: row["objective"] for row in scored},
        official={row["arm_seed"]: official[row["run_id"]] for row in scored if row["run_id"] in official},
        failed=failed,
        unfinished=len(rows) - len(scored) - len(failed),
        runtime_s=sum(row["runtime_s"] or 0.0 for row in rows),
        runs=tuple(scored),
    )


def config_of(arm: ArmResult) -> dict[str, Any]:
    """The training config of the arm's first scored run."""
    config: dict[str, Any] = json.loads(arm.runs[0]["config"])
    return config
