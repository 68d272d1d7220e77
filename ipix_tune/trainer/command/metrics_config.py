"""Where a command leaves its metrics, as the study file says it."""

import re
from typing import Annotated, Self

from pydantic import Field, model_validator

from trainers.common.section import Section

KINDS = ("jsonl", "csv", "tensorboard", "wandb", "pattern")


class MetricsConfig(Section):
    """Where the command leaves its metrics: exactly one of `jsonl`, `csv`, `tensorboard`, `wandb` and `pattern`."""

    jsonl: str | None = None
    """A file with a JSON object in every line."""
    csv: str | None = None
    """A file with a header and comma-separated values."""
    tensorboard: str | None = None
    """A folder of TensorBoard's event files. A scalar's step is its epoch, unless there are scalars that are called as
    `epoch` says: then these give the epochs of their steps. Needs the package tensorboard."""
    wandb: str | None = None
    """The folder in which W&B's client makes `wandb/`; runs are read from its offline files."""
    pattern: dict[str, str] | None = None
    """Regular expressions by the metric's name, for what the command prints; their first group is the number. One that
    is called as `epoch` says gives the epoch of its line and of those that follow. Without it, every match of the score
    is the next epoch, or `rows_per_epoch` of them are."""
    epoch: str = "epoch"
    """What the rows call the epoch."""
    steps_per_epoch: Annotated[int, Field(ge=1)] | None = None
    """What the rows call the epoch counts steps, of which so many are an epoch; `first_epoch` is the number of the
    first step then."""
    first_epoch: Annotated[int, Field(ge=0, le=1)] = 1
    """The number of the first epoch there."""
    rows_per_epoch: Annotated[int, Field(ge=1)] = 1
    """Rows with the score in one epoch; the last one counts."""
    needs: list[str] = Field(default_factory=list)
    """Metrics, by the study's names, without which an epoch is not told: it waits for them beside its score, until a
    later epoch begins. For programs that write them some time after the score."""
    factor: dict[str, float] = Field(default_factory=dict)
    """What a metric is multiplied by, under the study's name: 100 turns a Dice of 0.712 into 71.2, which tables and
    report show to two decimals."""
    names: dict[str, str] = Field(default_factory=dict)
    """Other names for metrics: the study's name, then the command's, such as `val/dice: validation Dice`."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(KINDS)}; got {', '.join(given) or 'none'}")
        for name, text in (self.pattern or {}).items():
            try:
                groups = re.compile(text).groups
            except re.error as error:
                raise ValueError(f"pattern.{name}: {text!r} is no regular expression: {error}") from None
            if groups < 1:
                raise ValueError(f"pattern.{name}: {text!r} has no group: put the number in brackets, as in ([0-9.]+)")
        return self

    @property
    def place(self) -> str:
        """The file or folder, as it was given; '' for what is printed."""
        return next((str(getattr(self, kind)) for kind in KINDS[:4] if getattr(self, kind) is not None), "")

    @property
    def described(self) -> str:
        """The source in words, for messages."""
        kind = next(kind for kind in KINDS if getattr(self, kind) is not None)
        return "its output by pattern" if kind == "pattern" else f"{kind} {self.place}"
