"""Several studies side by side: where each stands, what may be compared between them, and one answer on a contrast that
several of them confirmed.

Over studies each one counts once: its effect is the mean paired difference that its own confirmation found, and the
interval is Student's t over these effects, with one degree of freedom less than there are studies. It is an interval
for the mean effect over studies of this kind, of which these are a sample. Weights by precision (Hartung and Knapp's
random effects) and a bootstrap of the seeds within each study were tried and left: see
docs/explanation/statistics.md and `benchmarks/results/across_studies_202611.md`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.ingest.tables import Tables
from analysis.stats.confirm.paired_verdict import Verdict
from analysis.stats.confirm.results import ArmResult, Confirmed, confirmed
from analysis.stats.confirm.standing import ROUNDING, Kind, kind_of
from analysis.stats.distributions import student
from analysis.stats.study import StudyTrials, from_tables

LEVEL = 0.95
CHOSEN = ("top", "defaults")
"""Roles of arms that are what the study's own search and file made them: another configuration in every study."""


@dataclass(frozen=True, kw_only=True)
class Entered:
    """A study of the comparison. ``label``: its name, or where several have one name, its folder."""

    label: str
    study: StudyTrials
    confirmed: Confirmed | None
    seconds: float
    """Of all runs, of the confirmation too."""
    run_ids: frozenset[str]

    @property
    def runs(self) -> int:
        """Of search and confirmation."""
        return len(self.run_ids)

    @property
    def epochs(self) -> int:
        """That the trials of the search ran."""
        return sum(trial.epochs for trial in self.study.trials)


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A contrast in one study: above 0 the first is better. ``low`` and ``high`` as the study's verdict has them."""

    label: str
    effect: float
    low: float
    high: float
    pairs: int
    delta: float
    kind: Kind
    max_epochs: int
    splits: tuple[str, ...]
    broken: tuple[str, ...] = ()
    """Which of the two breaks a constraint of that study, in words."""


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """One answer over studies. ``spread``: standard deviation of their effects, seeds' noise included."""

    studies: int
    better: int
    mean: float
    low: float
    high: float
    spread: float
    kind: Kind
    delta: float


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A contrast that two studies or more confirmed, by the names of its arms.

    Args:
        metric: of all of them.
        effects: of the studies.
        pooled: over them.
        notes: in what they differ.
    """

    first: str
    second: str
    metric: str
    effects: tuple[Effect, ...]
    pooled: Pooled
    notes: tuple[str, ...]


def entered(label: str, tables: Tables) -> Entered:
    """A study from its tables."""
    found = confirmed(tables)
    return Entered(
        label=label,
        study=from_tables(tables),
        confirmed=found if found is not None and found.runs else None,
        seconds=sum(one or 0.0 for one in tables.runs["runtime_s"].to_pylist()),
        run_ids=frozenset(tables.runs["run_id"].to_pylist()),
    )


def pooled(effects: Sequence[float], *, delta: float, level: float = LEVEL) -> Pooled:
    """The mean of the studies' effects with its t interval.

    Args:
        effects: of two studies or more.
        delta: the smallest difference that matters.
    """
    values, count = np.asarray(effects, float), len(effects)
    spread = float(values.std(ddof=1))
    mean = float(values.mean())
    alike = spread <= ROUNDING * float(np.abs(values).max())  # then how far studies differ is not known
    half = math.inf if alike else float(student((1 + level) / 2, count - 1)) * spread / math.sqrt(count)
    return Pooled(
        studies=count,
        better=int((values > 0).sum()),
        mean=mean,
        low=mean - half,
        high=mean + half,
        spread=spread,
        kind=kind_of(mean - half, mean + half, delta),
        delta=delta,
    )


def contrasts(entries: Sequence[Entered]) -> list[Contrast]:
    """Those that two studies or more confirmed with one metric: the same two names, and where a name stands for keys
    that were set, the same keys. Names that stand for other keys elsewhere are another contrast there."""
    found: dict[tuple[str, str, str, str], list[tuple[Effect, tuple[Any, Any]]]] = {}
    for entry in entries:
        for (first, second), effect, meaning in _effects(entry):
            assert entry.confirmed is not None
            key = (entry.confirmed.metric, entry.confirmed.mode, first, second)
            found.setdefault(key, []).append((effect, meaning))
    made = []
    for (metric, _, first, second), known in found.items():
        for shared in dict.fromkeys(meaning for _, meaning in known):
            same = [effect for effect, meaning in known if meaning == shared]
            if len({one.label for one in same}) < 2:
                continue
            others = [effect.label for effect, meaning in known if meaning != shared]
            answer = pooled([one.effect for one in same], delta=min(one.delta for one in same))
            notes = tuple(_differences(same, others))
            made.append(
                Contrast(first=first, second=second, metric=metric, effects=tuple(same), pooled=answer, notes=notes)
            )
    return made


def _effects(entry: Entered) -> Iterator[tuple[tuple[str, str], Effect, tuple[Any, Any]]]:
    """Every verdict of a study under all names of its two arms, ordered, with what the names stand for."""
    found = entry.confirmed
    if found is None:
        return
    for verdict in found.judgement.verdicts:
        if not math.isfinite(verdict.effect):
            continue
        arm, other = found.arm(verdict.arm), found.arm(verdict.other)
        for first in _names(arm):
            for second in _names(other):
                turned = _rank(first) > _rank(second)
                effect = _effect(entry, found, verdict, (arm, other), turned=turned)
                pair = ((second, other), (first, arm)) if turned else ((first, arm), (second, other))
                (one, ours), (two, theirs) = pair
                yield (one, two), effect, (_meaning(one, ours), _meaning(two, theirs))


def _effect(
    entry: Entered, found: Confirmed, verdict: Verdict, arms: tuple[ArmResult, ArmResult], *, turned: bool
) -> Effect:
    sign = -1 if turned else 1
    ends = sorted((sign * verdict.low, sign * verdict.high))
    kinds: dict[Kind, Kind] = {"better": "worse", "worse": "better"}
    return Effect(
        label=entry.label,
        effect=sign * verdict.effect,
        low=ends[0],
        high=ends[1],
        pairs=verdict.pairs,
        delta=found.plan.delta,
        kind=kinds.get(verdict.kind, verdict.kind) if turned else verdict.kind,
        max_epochs=found.max_epochs,
        splits=tuple(dict.fromkeys(split for arm in arms for split in arm.splits)),
        broken=tuple(
            f"{arm.name} breaks a constraint of {entry.label}, and could not be chosen there: {arm.breaks}"
            for arm in arms
            if arm.breaks
        ),
    )


def _names(arm: ArmResult) -> list[str]:
    """Of an arm that several configurations came to, all: top 1 (equal to defaults) is both."""
    start, _, rest = arm.name.partition(" (equal to ")
    return [start, *(one for one in rest.rstrip(")").split(", ") if one)]


def _rank(name: str) -> tuple[int, str]:
    """The searched ones first, the defaults last, so that above 0 is a gain."""
    return (0 if name.startswith("top ") else 2 if name == "defaults" else 1, name)


def _meaning(name: str, arm: ArmResult) -> Any:
    """What a name has to stand for in every study: the keys that were set; of what was searched or given, its role."""
    if name == "defaults" or (name.startswith("top ") and " with " not in name):
        return name
    return tuple(sorted((key, repr(value)) for key, value in arm.changes.items()))


def _differences(effects: Sequence[Effect], others: Sequence[str]) -> Iterator[str]:
    lengths = sorted({one.max_epochs for one in effects})
    if len(lengths) > 1:
        yield f"their runs differ in length: {', '.join(map(str, lengths))} epochs"
    deltas = sorted({one.delta for one in effects})
    if len(deltas) > 1:
        yield f"they differ in delta: {', '.join(f'{one:g}' for one in deltas)}; the smallest is taken"
    yield from (note for one in effects for note in one.broken)
    if others:
        yield f"left out, since these names stand for other keys there: {', '.join(others)}"


def not_comparable(entries: Sequence[Entered]) -> list[str]:
    """What the studies differ in that makes their scores no measure of each other, in words."""
    facts: Mapping[str, Mapping[str, Any]] = {
        "metric": {one.label: f"{one.study.mode} {one.study.metric}" for one in entries},
        "split": {one.label: (one.study.split_hash or "unknown")[:12] for one in entries},
        "length": {one.label: f"{one.study.max_epochs} epochs" for one in entries},
    }
    why = {
        "metric": "scores by different metrics have no common scale",
        "split": "scores on different splits differ by the images too",
        "length": "scores after a different number of epochs differ by the training too",
    }
    bars = [
        f"{why[name]}: {', '.join(f'{label} {value}' for label, value in known.items())}"
        for name, known in facts.items()
        if len(set(known.values())) > 1
    ]
    if set(facts["split"].values()) == {"unknown"}:
        bars.append("their trainers told no split, so that their scores may be on other images")
    return bars
