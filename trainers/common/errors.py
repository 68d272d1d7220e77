"""Errors that a user can mend. Command lines print them without a traceback and exit with code 2.

UserError
├── ConfigError       a key or value in a YAML file or on the command line
├── DataError         a file of the data set, or a split
├── CheckpointError   a checkpoint that is torn, or that belongs to another run
└── OutputError       the run's folder cannot be written
TrainingError         the run itself went wrong (not the user's spelling): a loss is NaN or infinite
├── OutOfMemory       the device's memory is too small for a step or an evaluation
└── LoaderError       the loader's workers died, or gave nothing for too long
"""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake outside the code; the message says where, what, and what is allowed."""


class ConfigError(UserError):
    """A config file or override cannot be accepted."""


class DataError(UserError):
    """The data set on disk is not what the config says."""


class CheckpointError(UserError):
    """A checkpoint cannot be used for this run."""


class OutputError(UserError):
    """The run's folder cannot be written: no right, no space, or a file in its place."""


class TrainingError(Exception):
    """Training cannot go on; the message names the step and the loss term."""


class OutOfMemory(TrainingError):
    """A step or an evaluation does not fit into the device's memory; the message names what would make it smaller."""


class LoaderError(TrainingError):
    """The data loader gives no batch any more; the message says why that may be. Another try may succeed."""


def did_you_mean(wrong: str, allowed: Iterable[str]) -> str:
    """'; did you mean "x"?' for the nearest valid spelling, or '' when none is near."""
    near = difflib.get_close_matches(wrong, list(allowed), n=1, cutoff=0.5)
    return f'; did you mean "{near[0]}"?' if near else ""
