"""What W&B's runs of a search and of a confirmation say beside their epochs: the same while a study runs and when a log
is completed later."""

import socket
from collections.abc import Sequence
from typing import Any

from analysis.columns import CONFIRM
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.study.confirm_plan import ARM, SEED, Confirmation, logged_plan
from ipix_tune.study.plan import Plan
from ipix_tune.tracking.run_facts import RunFacts
from ipix_tune.trainer.interface import Config


def facts_of_search(study: StudyConfig, space: SearchSpace, plan: Plan) -> RunFacts:
    """What the runs of a search log beside their epochs."""
    shared = _shared(study, space, space.to_config(plan.sample), max_epochs=plan.max_epochs, rungs=plan.rungs)
    shared["scheduler"] |= {"trials": plan.trials}
    return RunFacts(
        phase="search",
        training=lambda values: space.trainer.granted(space.to_config(values), study.resources),
        describe=lambda values: {"search": values},
        shared=shared,
    )


def facts_of_confirmation(study: StudyConfig, space: SearchSpace, found: Confirmation) -> RunFacts:
    """What the runs of a confirmation log beside their epochs. ``study`` has one objective."""
    first = found.arms[0]
    shared = _shared(
        study, space, found.config(first.name, 0), max_epochs=space.trainer.max_epochs(first.config), rungs=()
    )
    shared["scheduler"] |= {"name": "none"}
    plan = logged_plan(study, found)
    values_of = {arm.name: dict(arm.values) for arm in found.arms}
    return RunFacts(
        phase=CONFIRM,
        training=lambda values: space.trainer.granted(
            found.config(str(values[ARM]), int(str(values[SEED]))), study.resources
        ),
        describe=lambda values: {"search": values_of[str(values[ARM])], CONFIRM: {**values, **plan}},
        shared=shared,
    )


def _shared(
    study: StudyConfig, space: SearchSpace, config: Config, *, max_epochs: int, rungs: Sequence[int]
) -> dict[str, Any]:
    from ipix_tune.tracking.runs import origin_facts

    classes, split_hash = space.trainer.facts(config)
    return {
        "space": space.describe(),
        "scheduler": {
            **study.scheduler.model_dump(),
            "max_epochs": max_epochs,
            "rungs": list(rungs),
        },
        "constraints": study.bounds,
        "trains": {"by": space.trainer.kind, "unpaired": space.trainer.seeds()},
        "classes": list(classes),
        "origin": origin_facts(world_size=study.resources.workers, host=socket.gethostname(), split_hash=split_hash),
    }
