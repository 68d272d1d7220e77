"""What a confirmation runs: the arms (configurations), their seeds, and which of them are compared.

Arms come from the search, from the study file and from nothing else; no method and no loss is known here by name.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from analysis.stats.best import DRAW_SEED, INFEASIBLE, SEED, SEEDS, settings_of, standings
from ipix_tune.config.confirm_section import ConfirmError, confirm_of, defaults_of
from ipix_tune.config.dimension import end_values, every_value, same
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.study.plan import make_plan
from ipix_tune.trainer.interface import Config
from ipix_tune.trainer.resources import Value
from trainers.common.config_keys import get_dotted

if TYPE_CHECKING:
    from ipix_tune.search.trial_record import TrialRecord

TOP, DEFAULTS, ABLATED, CONTRAST = "top", "defaults", "ablated", "contrast"
"""Roles of arms. An arm that is equal to another is that one, with the roles of both."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One configuration of a confirmation.

    Args:
        name: how the report calls it.
        roles: its roles.
        of: names of the arms that it was made from, of an ablated or contrasting one.
        changes: what was set differently from those.
        trial: key of the search's trial that it repeats, of a top one.
        values: the searched leaves that are active in it and have an effect.
        config: its config; the seeds in it are not used.
        identity: equal for configurations that train alike with equal seeds: keys that have no effect do not count.
    """

    name: str
    roles: tuple[str, ...]
    of: tuple[str, ...] = ()
    changes: Mapping[str, Value] = field(default_factory=dict)
    trial: str | None = None
    values: Mapping[str, Value]
    config: Config
    identity: str = field(repr=False)


EQUAL = "(equal to"
"""Part of the name of an arm that several configurations share, such as: top 1 (equal to defaults)."""


def leaders(study: StudyConfig, entries: "Iterable[TrialRecord]", *, top: int, max_epochs: int) -> "list[TrialRecord]":
    """The best configurations among the trials that ran all their epochs, best first, each as its earliest run: by the
    rule of `analysis.stats.best`, as everywhere.

    Args:
        study: with its objectives.
        entries: the search's trials.
        top: how many at most.
        max_epochs: full length of a trial.
    """
    known = list(entries)
    by_number = {one.scored.number: one for one in known if one.scored is not None}
    found = standings(
        (one.scored for one in by_number.values() if one.scored is not None),
        max_epochs=max_epochs,
        sign=study.objective.sign,
        second_sign=study.objective.second_sign,
        barred={settings_of(one.values) for one in known if one.state == INFEASIBLE},
    )
    return [by_number[one.number] for one in found.ranked()[:top] if one.full]


def arms_of(study: StudyConfig, space: SearchSpace, entries: "Iterable[TrialRecord]") -> tuple[Arm, ...]:
    """The arms of a study's confirmation: the leading configurations, the defaults, both with every step of the
    ablation, what contrasts with the first, and the variants. Equal ones are one arm.

    Args:
        study: with its `confirm` section.
        entries: the search's trials.

    Raises:
        ConfirmError: no trial ran all its epochs.
    """
    confirm = confirm_of(study)
    best = leaders(study, entries, top=confirm.top, max_epochs=make_plan(study).max_epochs)
    if not best:
        raise ConfirmError(
            f"{study.name}: no trial of the search ran all its epochs with a score, so there is nothing to confirm; "
            "give the search a larger budget (--resume --set budget.trials=...)"
        )
    bases = [
        _arm(space, f"top {rank}", _config(space, one.values), role=TOP, trial=one.key)
        for rank, one in enumerate(best, 1)
    ]
    if (given := defaults_of(study)) is not None:
        bases.append(_arm(space, DEFAULTS, _config(space, given), role=DEFAULTS))
    whole = _merged(bases)
    ablated = [arm for base in whole for arm in without(study, space, base)]
    return _merged([*whole, *ablated, *others(study, space, whole[0]), *variants(study, space, whole)])


def without(study: StudyConfig, space: SearchSpace, arm: Arm) -> list[Arm]:
    """``arm`` with every step of the study's ablation, each made from the one before. Steps that change nothing are
    left out."""
    found, confirm = [arm], confirm_of(study)
    for name, step, changes in zip(confirm.step_names, confirm.steps, confirm.ladder, strict=True):
        title = f"{arm.name} with {name or _shown(*next(iter(step.items())))}"
        config = space.trainer.changed(arm.config, changes)
        ablated = _arm(space, title, config, role=ABLATED, changes=changes, of=(found[-1].name,))
        if ablated.identity != found[-1].identity:
            found.append(ablated)
    return found[1:]


def others(study: StudyConfig, space: SearchSpace, arm: Arm) -> list[Arm]:
    """``arm`` with every other value of the choices to contrast that are active in it, all else equal. What is active
    only under its own value falls back to the config's default."""
    found = []
    for name in confirm_of(study).contrast:
        for value in every_value(space.dimensions[name]) if name in arm.values else ():
            if not same(value, arm.values[name]):
                wanted = {**arm.values, name: value}
                active = space.active(wanted)
                given = {key: one for key, one in wanted.items() if key in active}
                title = f"{arm.name} with {_shown(name, value)}"
                config = _config(space, given)
                found.append(_arm(space, title, config, role=CONTRAST, changes={name: value}, of=(arm.name,)))
    return found


def variants(study: StudyConfig, space: SearchSpace, bases: Sequence[Arm]) -> list[Arm]:
    """The study's variants of the defaults, which are one of ``bases``; of the first where there are none."""
    of = next((base for base in bases if DEFAULTS in base.roles), bases[0])
    return [
        _arm(space, name, space.trainer.changed(of.config, keys), role=CONTRAST, changes=keys, of=(of.name,))
        for name, keys in confirm_of(study).variants.items()
    ]


def comparisons(arms: Sequence[Arm]) -> tuple[tuple[str, str], ...]:
    """Every pair that the report speaks of, once: top configurations and defaults with each other, and each arm with
    those that were made from it."""
    first = [arm.name for arm in arms if {TOP, DEFAULTS} & set(arm.roles)]
    pairs = [*itertools.combinations(first, 2), *((base, arm.name) for arm in arms for base in arm.of)]
    return tuple({frozenset(pair): pair for pair in reversed(pairs) if pair[0] != pair[1]}.values())[::-1]


def kept(arms: Sequence[Arm]) -> frozenset[str]:
    """Arms that go on until their comparisons are decided, though another is clearly better: those of a question that
    is not which arm is best."""
    asked = {base for arm in arms if CONTRAST in arm.roles for base in arm.of}
    return frozenset(asked | {arm.name for arm in arms if {DEFAULTS, ABLATED, CONTRAST} & set(arm.roles)})


def simplest_first(arms: Sequence[Arm]) -> tuple[str, ...]:
    """Names in the order in which `prefer: simplest` takes them: a part less first (of a ladder the later step), then
    what needed no search, then the better trial of the search."""
    ranks = {ABLATED: 0, DEFAULTS: 1, TOP: 2, CONTRAST: 3}

    def rank(arm: Arm) -> tuple[int, int, int]:
        switched_off = len(arm.changes) if ABLATED in arm.roles else 0
        from_defaults = any("defaults" in base for base in arm.of)
        return min(ranks[role] for role in arm.roles), -switched_off, 0 if from_defaults else 1

    return tuple(arm.name for arm in sorted(arms, key=rank))


def first_seed(study: StudyConfig, space: SearchSpace, arms: Sequence[Arm]) -> int:
    """The lowest seed above all that the search used, for whatever source of chance."""
    used = [_highest(space, name) for name in (SEED, "seeds.init", "seeds.order") if name in space.dimensions]
    return 1 + max([*used, *([] if SEED in space.dimensions else [space.trainer.seed(arms[0].config)])])


def _highest(space: SearchSpace, name: str) -> int:
    return max(int(str(value)) for value in end_values(space.dimensions[name]))


def _config(space: SearchSpace, values: Mapping[str, Value]) -> Config:
    """The config of searched values without the search's seeds. A searched seed of the labelled draw is at its highest
    value, above which a confirmation goes."""
    found = {name: value for name, value in values.items() if name not in SEEDS}
    if DRAW_SEED in space.dimensions:
        found[DRAW_SEED] = _highest(space, DRAW_SEED)
    return space.to_config(found)


def _arm(space: SearchSpace, name: str, config: Config, *, role: str, **known: Any) -> Arm:
    """An arm with the searched leaves that are active in its config and have an effect there."""
    data, missing, trainer = config.model_dump(mode="json"), object(), space.trainer
    paths = {key: ".".join(trainer.path_of(key)) for key in space.dimensions if key not in SEEDS}
    read = {key: get_dotted(data, path, missing) for key, path in paths.items()}
    there: dict[str, Any] = {key: value for key, value in read.items() if value is not missing}
    active, dead = space.active(there), trainer.dead_keys(config)
    values = {key: value for key, value in there.items() if key in active and key not in dead}
    return Arm(name=name, roles=(role,), values=values, config=config, identity=trainer.identity(config), **known)


def _merged(arms: Sequence[Arm]) -> tuple[Arm, ...]:
    """Equal configurations become one arm with the names and roles of all."""
    found: dict[str, list[Arm]] = {}
    for arm in arms:
        found.setdefault(arm.identity, []).append(arm)
    titles = [_title(equal) for equal in found.values()]
    titles = [
        name if titles.count(name) == 1 else _title(equal, whole=True)
        for name, equal in zip(titles, found.values(), strict=True)
    ]
    names = {arm.name: name for name, equal in zip(titles, found.values(), strict=True) for arm in equal}
    return tuple(
        replace(
            equal[0],
            name=name,
            roles=tuple(dict.fromkeys(role for arm in equal for role in arm.roles)),
            of=tuple(dict.fromkeys(names.get(base, base) for arm in equal for base in arm.of)),
            changes=next((arm.changes for arm in equal if arm.changes), {}),
        )
        for name, equal in zip(titles, found.values(), strict=True)
    )


def _title(equal: Sequence[Arm], *, whole: bool = False) -> str:
    """Of equal arms: the first name and, in brackets, what it is equal to. Where several were made by the same change,
    the change alone stands for them, or (``whole``) behind all that it was made to."""
    starts: dict[str, list[str]] = {}
    for arm in equal:
        start, _, change = arm.name.partition(" with ")
        starts.setdefault(change, []).append(start)
    parts = []
    for change, these in starts.items():
        if not change:
            parts += these
        else:
            parts.append(change if len(these) > 1 and not whole else f"{', '.join(these)} with {change}")
    return parts[0] if len(parts) == 1 else f"{parts[0]} {EQUAL} {', '.join(parts[1:])})"


def _shown(name: str, value: Value) -> str:
    return f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
