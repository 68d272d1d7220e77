"""The plan of a confirmation, in the study's folder before the first run: arms, seeds, comparisons."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from analysis.stats.confirm.race_plan import RacePlan
from analysis.stats.confirm.results import plan_of
from ipix_tune.config.confirm_section import ConfirmError, confirm_of
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.search.trial_store import TrialStore
from ipix_tune.storage.atomic import replace_bytes
from ipix_tune.study import confirm_arms as arms_
from ipix_tune.study.confirm_arms import Arm, arms_of
from ipix_tune.trainer.choose import trainer_of
from ipix_tune.trainer.interface import Config

FOLDER, PLAN = "confirm", "plan.json"
ARM, SEED = "arm", "seed"
"""Names of the values of a run of the confirmation."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Confirmation:
    """What is run: fixed before the first run, but for extensions of the plan. ``first_seed`` is the trainer's seed
    that number 0 stands for."""

    arms: tuple[Arm, ...]
    plan: RacePlan
    order: tuple[str, ...]
    first_seed: int

    def config(self, name: str, number: int) -> Config:
        """The config of an arm's run with a seed."""
        arm = next(arm for arm in self.arms if arm.name == name)
        trainer = trainer_of(arm.config.model_dump(mode="json"))
        return trainer.with_seed(arm.config, number, first=self.first_seed)


def logged_plan(study: StudyConfig, found: Confirmation) -> dict[str, Any]:
    """What is the same under `confirm` of all runs, as `analysis.columns` lists it."""
    return {
        "plan": {**dataclasses.asdict(found.plan), "kept": sorted(found.plan.kept)},
        "arms": {
            arm.name: {
                "roles": list(arm.roles),
                "of": list(arm.of),
                "changes": dict(arm.changes),
                "trial": arm.trial,
            }
            for arm in found.arms
        },
        "order": list(found.order),
        "prefer": confirm_of(study).prefer,
    }


def looked_at(study: StudyConfig, space: SearchSpace, place: Path) -> Confirmation:
    """The confirmation that the folder holds, or the one that would begin now; nothing is written.

    Raises:
        ConfirmError: there is nothing to confirm.
    """
    file = place / FOLDER / PLAN
    if file.is_file():
        return load(file)
    return _planned(study, space, arms_of(study, space, TrialStore(place, study, space, total=0).entries()))


def load(file: Path) -> Confirmation:
    """What `settled` wrote."""
    return _loaded(json.loads(file.read_text()), source=str(file))


def accept(study: StudyConfig, place: Path, *, resume: bool | None) -> None:
    """See that the confirmation in the folder, or its lack, is what was asked for; nothing is written.

    Raises:
        ConfirmError: there is one and ``resume`` is false, or none and it is true; or it has another plan.
    """
    file = place / FOLDER / PLAN
    if not file.is_file():
        if resume:
            raise ConfirmError(f"{place}: no confirmation has begun; leave out --resume to start it")
        return
    if resume is False:
        raise ConfirmError(f"{place}: its confirmation has begun; go on with --resume")
    section, begun = _section(study), json.loads(file.read_text())["confirm"]
    if changed := sorted(key for key in section if begun.get(key) != section[key]):
        was = ", ".join(f"confirm.{key}: {json.dumps(begun.get(key))}" for key in changed)
        raise ConfirmError(
            f"{place}: its confirmation has begun with {was}. Scores were seen under that plan, and its error holds "
            "for no other: give these values again"
        )


def settled(study: StudyConfig, space: SearchSpace, place: Path, *, resume: bool | None) -> Confirmation:
    """The confirmation that the folder holds, or a new one, written before anything runs.

    Raises:
        ConfirmError: as :func:`accept`.
    """
    accept(study, place, resume=resume)
    file = place / FOLDER / PLAN
    if file.is_file():
        return load(file)
    found = looked_at(study, space, place)
    file.parent.mkdir(exist_ok=True)
    replace_bytes(file, json.dumps({"confirm": _section(study), **_dumped(found)}, indent=2).encode())
    return found


def _section(study: StudyConfig) -> dict[str, Any]:
    return confirm_of(study).model_dump(mode="json", exclude={"after_search", "prefer"})


def _planned(study: StudyConfig, space: SearchSpace, arms: tuple[Arm, ...]) -> Confirmation:
    confirm = confirm_of(study)
    pairs = arms_.comparisons(arms)
    if not pairs:
        raise ConfirmError(
            f"{study.name}: all configurations to confirm are the same one, {arms[0].name}: nothing to compare"
        )
    plan = RacePlan(
        delta=confirm.delta,
        error=confirm.error,
        first_seeds=confirm.first_seeds,
        max_seeds=confirm.max_seeds,
        comparisons=pairs,
        kept=arms_.kept(arms),
    )
    order = arms_.simplest_first(arms)
    return Confirmation(arms=arms, plan=plan, order=order, first_seed=arms_.first_seed(study, space, arms))


def _dumped(found: Confirmation) -> dict[str, Any]:
    arms = [
        {**{name: getattr(arm, name) for name in ("name", "roles", "of", "changes", "trial", "values")},
         "config": arm.config.model_dump(mode="json")}
        for arm in found.arms
    ]  # fmt: skip
    plan = {**dataclasses.asdict(found.plan), "kept": sorted(found.plan.kept)}
    return {"arms": arms, "plan": plan, "order": found.order, "first_seed": found.first_seed}


def _loaded(data: dict[str, Any], *, source: str) -> Confirmation:
    arms = tuple(_arm(arm, source=source) for arm in data["arms"])
    return Confirmation(
        arms=arms, plan=plan_of(data["plan"]), order=tuple(data["order"]), first_seed=data["first_seed"]
    )


def _arm(data: dict[str, Any], *, source: str) -> Arm:
    trainer = trainer_of(data["config"])
    config = trainer.validated(data["config"], source=source, lines={})
    known = {name: data[name] for name in ("name", "changes", "trial", "values")}
    return Arm(
        **known, roles=tuple(data["roles"]), of=tuple(data["of"]), config=config, identity=trainer.identity(config)
    )
