"""What a trial's W&B run says beside its epochs: one place for the search and the confirmation, while they run and when
a log is made whole later."""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.columns import CONFIRM, Phase
from ipix_tune.config import StudyConfig, Value
from ipix_tune.devices import granted
from ipix_tune.lineup import ARM, SEED, Confirmation, logged_plan
from ipix_tune.plan import Plan
from ipix_tune.space import SearchSpace
from trainers.config import TrainConfig

Values = dict[str, Value]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Of one phase of a study.

    Args:
        phase: the job type of its W&B runs.
        training: a trial's values to its training config.
        describe: what W&B's config says of a trial, by its values.
        shared: what is the same for all runs, as `analysis.columns` lists it.
    """

    phase: Phase
    training: Callable[[Values], TrainConfig]
    describe: Callable[[Values], dict[str, Any]]
    shared: dict[str, Any]


def facts_of_search(study: StudyConfig, space: SearchSpace, plan: Plan) -> RunFacts:
    """Of the trials of the search."""
    return RunFacts(
        phase="search",
        training=lambda values: granted(space.to_config(values), study.resources),
        describe=lambda values: {"search": values},
        shared=_shared(study, space, space.to_config(plan.sample), max_epochs=plan.max_epochs, rungs=plan.rungs),
    )


def facts_of_confirmation(study: StudyConfig, space: SearchSpace, found: Confirmation) -> RunFacts:
    """Of the runs of the confirmation. ``study`` has one objective."""
    first = found.arms[0]
    shared = _shared(study, space, found.config(first.name, 0), max_epochs=first.config.schedule.epochs, rungs=())
    shared["scheduler"] |= {"name": "none"}
    plan = logged_plan(study, found)
    values_of = {arm.name: dict(arm.values) for arm in found.arms}
    return RunFacts(
        phase=CONFIRM,
        training=lambda values: granted(found.config(str(values[ARM]), int(str(values[SEED]))), study.resources),
        describe=lambda values: {"search": values_of[str(values[ARM])], CONFIRM: {**values, **plan}},
        shared=shared,
    )


def _shared(
    study: StudyConfig, space: SearchSpace, config: TrainConfig, *, max_epochs: int, rungs: Sequence[int]
) -> dict[str, Any]:
    from ipix_tune.tracking import origin_facts
    from trainers.data.open import open_data

    data = open_data(config.data, final=False)
    return {
        "space": space.describe(),
        "scheduler": {
            **study.scheduler.model_dump(),
            "max_epochs": max_epochs,
            "rungs": list(rungs),
        },
        "classes": list(data.classes),
        "origin": origin_facts(
            world_size=study.resources.workers, host=socket.gethostname(), split_hash=data.split_hash
        ),
    }
