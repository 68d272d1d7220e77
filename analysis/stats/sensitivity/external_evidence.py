"""What others found, to stand beside what the surrogate says: published pairs, and pairs that a study confirmed."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from analysis.ingest.tables import Tables
from analysis.stats.best import SEEDS
from analysis.stats.confirm.paired_verdict import Verdict
from analysis.stats.confirm.results import Confirmed
from analysis.stats.study import StudyTrials, Trial


@dataclass(frozen=True, kw_only=True)
class ExternalPair:
    """Score at ``first`` minus score at ``second`` of one parameter, all else equal. ``interval``: None where the
    source gives none. ``source`` says whose it is, and on how many seeds it stands."""

    name: str
    first: Any
    second: Any
    difference: float
    interval: tuple[float, float] | None
    source: str
    published: bool


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a paper reports of parameters that a study searches too."""

    source: str
    defaults: Mapping[str, Any]
    pairs: tuple[ExternalPair, ...]


def published(study: StudyTrials, tables: Tables) -> Published | None:
    """The paper whose data set, and method where it names one, the study has, and whose parameters it searches; None
    where there is none."""
    from ruamel.yaml import YAML

    config = json.loads(tables.runs["config"][0].as_py())
    data, method = ((config.get(section) or {}).get("name") for section in ("data", "method"))
    for file in sorted(files("analysis.published").iterdir(), key=lambda one: one.name):
        if not file.name.endswith(".yaml"):
            continue
        known = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
        pairs = tuple(
            ExternalPair(
                name=row["parameter"],
                first=first,
                second=second,
                difference=one - other,
                interval=None,
                source=f"{known['source']}, {row['setting']}, {known['seeds']}",
                published=True,
            )
            for row in known["pairs"]
            if row["parameter"] in study.space
            for (first, one), (second, other) in [row["scores"]]
        )
        if known["data"] == data and known.get("method", method) == method and pairs:
            return Published(source=known["source"], defaults=known["defaults"], pairs=pairs)
    return None


def confirmed_pairs(found: Confirmed) -> tuple[ExternalPair, ...]:
    """The comparisons of arms that differ in one parameter alone. An arm in which it is inactive has None for it."""
    pairs = []
    for one in found.judgement.verdicts:
        arm, other = found.arm(one.arm).values, found.arm(one.other).values
        differ = [name for name in {**arm, **other} if name not in SEEDS and arm.get(name) != other.get(name)]
        if len(differ) != 1 or math.isnan(one.effect):
            continue
        pairs.append(
            ExternalPair(
                name=differ[0],
                first=arm.get(differ[0]),
                second=other.get(differ[0]),
                difference=found.sign * one.effect,
                interval=_interval(one, found.sign),
                source=f"{one.pairs} paired seeds",
                published=False,
            )
        )
    return tuple(pairs)


def _interval(one: Verdict, sign: int) -> tuple[float, float] | None:
    """The verdict's interval in the score's own direction; None before the first look."""
    if math.isinf(one.low):
        return None
    low, high = sorted((sign * one.low, sign * one.high))
    return low, high


def first_configuration(study: StudyTrials, paper: Published | None) -> tuple[Trial, str] | None:
    """Where the way to the leading configuration begins: the study's first trial, which is its first point where it
    has points. It is called the paper's defaults where it has all of those that the study searches."""
    if not study.trials or not study.trials[0].values:
        return None
    trial = study.trials[0]
    searched = {} if paper is None else {name: one for name, one in paper.defaults.items() if name in study.space}
    if paper is not None and searched and all(_alike(trial.values.get(name), one) for name, one in searched.items()):
        return trial, f"{paper.source}'s defaults (trial {trial.number})"
    return trial, f"the first configuration (trial {trial.number})"


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-9)
    return bool(one == other)
