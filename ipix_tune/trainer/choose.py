"""Which trainer a study has, by its `trainer` section; and a run by its config, which has the same keys."""

from collections.abc import Mapping
from typing import Any

from ipix_tune.trainer.interface import Trainer


def trainer_of(section: Mapping[str, Any]) -> Trainer:
    """`command`: a command of the user's. `function`: a Python function. Neither: our own trainer."""
    if "command" in section:
        from ipix_tune.trainer.command.trainer import CommandTrainer

        return CommandTrainer(section)
    if "function" in section:
        from ipix_tune.trainer.function import FunctionTrainer

        return FunctionTrainer(section)
    from ipix_tune.trainer.own.trainer import OwnTrainer

    return OwnTrainer()
