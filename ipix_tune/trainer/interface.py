"""The one seam between a study and the code that trains: what a study asks of a trainer, and nothing else.

A trainer is chosen by the study's `trainer` section and knows all about it. A *config* is all that one run is given: a
pydantic model of the trainer's own, of which a study uses the plain data alone. Keys are dotted names; where they stand
in the section and in a config's data is the trainer's to say.
"""

from typing import Protocol

from ipix_tune.trainer.interface_configs import Configs
from ipix_tune.trainer.interface_keys import Keys
from ipix_tune.trainer.interface_machine import Machine
from ipix_tune.trainer.told import NO_DEFAULT, Checked, Config, Epoch, Report, Section, SpaceError, Timing

__all__ = [
    "NO_DEFAULT",
    "Checked",
    "Config",
    "Configs",
    "Epoch",
    "Keys",
    "Machine",
    "Report",
    "Section",
    "SpaceError",
    "Timing",
    "Trainer",
]


class Trainer(Keys, Configs, Machine, Protocol):
    """Code that trains, as a study sees it."""
