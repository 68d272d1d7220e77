"""What a trial's W&B run says beside its epochs: one place for the search and the confirmation, while they run and when
a log is made whole later."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from analysis.columns import Phase
from ipix_tune.trainer.interface import Config
from ipix_tune.trainer.resources import Value

Values = dict[str, Value]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Of one phase of a study.

    Args:
        phase: the job type of its W&B runs.
        training: a trial's values to its config.
        describe: what W&B's config says of a trial, by its values.
        shared: what is the same for all runs, as `analysis.columns` lists it.
    """

    phase: Phase
    training: Callable[[Values], Config]
    describe: Callable[[Values], dict[str, Any]]
    shared: dict[str, Any]
