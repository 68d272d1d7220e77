"""A command as trainer, typed: what the study file says, and what one run is given."""

from typing import Annotated, Any, Literal

from pydantic import Field

from ipix_tune.trainer.command.metrics_config import MetricsConfig
from ipix_tune.trainer.free import FreeConfig
from trainers.common.section import Section

Command = list[str | int | float] | str


class CommandRun(FreeConfig):
    """One run of a command."""

    command: Command
    """Program and arguments, one by one; or a line for the shell. `{name}` stands for a setting of `config`, and for
    `{epochs}`, `{seed}`, `{run_dir}` (the run's own folder) and `{config}` (a file with all settings). Write `{{` for a
    brace. A value never becomes shell: in a line for the shell it is quoted."""
    workdir: str | None = None
    """Where the command runs; none: where the study was started. `{run_dir}` gives every run a folder of its own, for
    programs that write where they are."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Environment variables, laid over those of the study; `{name}` as in the command."""
    config_format: Literal["yaml", "json"] = "yaml"
    """Format of the file that `{config}` names."""
    metrics: MetricsConfig
    seed_arguments: str | None = None
    """How the command takes a seed, such as `--seed {seed}`."""
    resume: str | None = None
    """Arguments that are added where a run goes on in a folder that holds an earlier start of it, such as
    `--resume {run_dir}`. None: it starts anew, and what the earlier start left is moved aside."""
    checkpoints: list[str] = Field(default_factory=list)
    """Its checkpoints below `{run_dir}`, as paths or patterns such as `checkpoints/*.pth`. Those of trials that have
    ended and that the study needs no more are deleted (`keep_checkpoints`); none are where this is empty."""
    check: Command | None = None
    """A command that ends with 0 where the data and the program are all right; run before a study starts."""
    stop_s: Annotated[float, Field(ge=0)] = 30.0
    """Seconds that it may take to end after SIGTERM, before SIGKILL."""
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds after which a run that is not over is ended and counts as failed."""


class CommandSection(Section):
    """The study's `trainer` section where it has `command`. Only `seed` differs from a run's config: here it says how
    the command takes one."""

    command: Command
    workdir: str | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    config: dict[str, Any] = Field(default_factory=dict)
    config_format: Literal["yaml", "json"] = "yaml"
    epochs: Annotated[int, Field(ge=1)]
    metrics: MetricsConfig
    score: str
    seed: str | None = None
    """How the command takes a seed, such as `--seed {seed}`; none where `{seed}` stands in the command already. Runs of
    a command that takes none cannot be confirmed."""
    resume: str | None = None
    checkpoints: list[str] = Field(default_factory=list)
    check: Command | None = None
    stop_s: Annotated[float, Field(ge=0)] = 30.0
    timeout_s: Annotated[float, Field(gt=0)] | None = None
