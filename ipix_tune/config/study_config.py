"""The study file, typed. The training config inside it (`trainer`) is partial: `search` fills the rest."""

import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from ipix_tune.config.confirm_config import ConfirmConfig
from ipix_tune.config.dimension_config import Dimension
from ipix_tune.config.objective_config import ObjectiveConfig
from ipix_tune.trainer.resources import ResourcesConfig, Value
from trainers.common.errors import ConfigError, did_you_mean
from trainers.common.home import expanded
from trainers.common.section import Section


class ConstraintConfig(Section):
    """Bounds of a metric that every trial has to keep. A trial that breaks them is stopped as soon as that is known,
    and is never the best."""

    min: float | None = None
    """The least that is allowed."""
    max: float | None = None
    """The most that is allowed."""
    at_end: bool = False
    """Only after the last epoch of the full length, for a metric that has to grow first, such as the IoU of a class;
    false: after every epoch."""

    @model_validator(mode="after")
    def _bounds_can_hold(self) -> Self:
        for name in ("min", "max"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ValueError(f"{name} = {value} is no bound; give a number, or leave it out")
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min = {self.min:g} is above max = {self.max:g}: nothing is allowed")
        return self


class SamplerConfig(Section):
    """Where new configurations come from."""

    name: Literal["tpe", "surrogate", "random", "gp", "cmaes", "grid"] = "tpe"
    """`tpe`: tree-structured Parzen estimator; `surrogate`: the report's surrogate of score over configuration and
    epochs, and a third of its proposals by TPE; `gp`: Gaussian process over complete trials; `cmaes`: evolution
    strategy; `grid`: every value of discrete dimensions; docs/explanation/search.md compares them."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Fixes what the sampler draws."""
    startup_trials: Annotated[int, Field(ge=0)] = 10
    """Random trials before the model takes over (tpe, surrogate, gp, cmaes)."""


class SchedulerConfig(Section):
    """Which trials go on. Fidelity is the epoch; the full length is `trainer.schedule.epochs`."""

    name: Literal["asha", "freeze_thaw", "none"] = "asha"
    """`asha`: asynchronous successive halving stops the worse trials at rungs; `freeze_thaw`: every trial is stopped at
    its rung, and the surrogate has those go on later that are worth it (with sampler.name: surrogate); `none`: every
    trial runs in full."""
    grace_epochs: Annotated[int, Field(ge=1)] = 1
    """No trial is stopped before it has run this many epochs: the first rung."""
    reduction: Annotated[int, Field(ge=2)] = 3
    """One in so many goes on at each rung; rungs are grace * reduction ** k."""
    quota: bool = True
    """Hold each rung to that share, except for a new best. A searcher that learns gives ever better trials, and plain
    ASHA (false) lets almost all of these run in full."""
    brackets: Annotated[int, Field(ge=1)] = 1
    """Hyperband's brackets over the same rungs: with 2 and more, some trials are not judged at the first rung, fewer of
    them not at the second either, and so on. For studies whose early epochs do not tell; 1: all are judged at all
    rungs."""


class NoImprovement(Section):
    """End the search when it has stopped getting better."""

    trials: Annotated[int, Field(ge=1)]
    """The search ends after so many trials in a row without an improvement; stopped trials count. Several dozen: ten in
    a row are often bad luck (docs/explanation/search.md, "When to stop")."""
    by: Annotated[float, Field(ge=0)] = 0.5
    """What counts as an improvement: a trial that ran to its end and is better than the best before it by more than
    this, in units of the objective. The default is about what seeds differ by in the published logs of UniMatch on
    Pascal VOC: smaller improvements may be luck."""


class BudgetConfig(Section):
    """When the study ends: at the first of these. When hours, epochs or GPU hours are used up, running trials are
    stopped and keep their checkpoints; `--resume` with more goes on."""

    trials: Annotated[int, Field(ge=1)]
    """Trials to start."""
    hours: Annotated[float, Field(gt=0)] | None = None
    """Wall time, over all drivers of the study."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Epochs of all trials together."""
    gpu_hours: Annotated[float, Field(gt=0)] | None = None
    """Training and evaluation time of all trials together, times the GPUs of a trial; needs gpus_per_worker above 0."""
    no_improvement: NoImprovement | None = None
    """Start no new trial when nothing gets better any more; running ones go on to their end."""
    stop: Literal["regret"] | None = None
    """`regret`: start no new trial when what is left to gain, by the report's surrogate, is below what seeds differ by;
    running ones go on to their end."""


def _place(storage: str) -> str:
    """A folder with `~` as a shell reads it, or a URI as it is."""
    if "\0" in storage:
        raise ValueError("a path has no zero byte")
    if found := re.search(r"\$\w+|\$\{", storage):
        raise ValueError(
            f"{found[0]} is not replaced in a study file; write the path, or give it with --set, where the shell "
            "replaces it"
        )
    try:
        return str(expanded(storage)) if storage.startswith("~") else storage
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _taken_by_wandb(name: str) -> str:
    """A name of a W&B project or entity; W&B refuses some characters."""
    refused = sorted(set(name) & set("/\\#?%:"))
    if refused:
        raise ValueError(
            f"W&B refuses {' '.join(refused)} in a name. A team stands in logging.entity, its project alone in "
            "logging.project"
        )
    return name


class LoggingConfig(Section):
    """Weights & Biases."""

    mode: Literal["offline", "online", "disabled"] = "offline"
    """The environment variable WANDB_MODE takes precedence."""
    project: Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_taken_by_wandb)] = "ipix-tune"
    """The W&B project of the study's runs."""
    entity: Annotated[str, Field(min_length=1), AfterValidator(_taken_by_wandb)] | None = None
    """The W&B user or team; none: the default of your W&B account."""


class StudyConfig(Section):
    """One study, whole."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    """Name of the study and of its folder; the ids of its W&B runs begin with it, which may have 128 characters."""
    trainer: dict[str, Any]
    """The training config, as far as it is fixed."""
    search: dict[str, Dimension]
    """What varies: a dimension for each dotted name of a training config key, such as `optim.lr`."""
    points: list[dict[str, Value]] = Field(default_factory=list)
    """Configurations to try first; the shipped studies put the paper's defaults here."""
    warm_start: list[str] = Field(default_factory=list)
    """Folders of earlier studies with tables/, whose trials the sampler tpe learns from; relative to the working
    directory."""
    objective: ObjectiveConfig = ObjectiveConfig()
    constraints: dict[str, ConstraintConfig] = Field(default_factory=dict)
    """Hard constraints by the name of a metric that the trainer reports, such as `memory/peak_mib: {max: 22000}`."""
    sampler: SamplerConfig = SamplerConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    budget: BudgetConfig
    resources: ResourcesConfig = ResourcesConfig()
    retries: Annotated[int, Field(ge=0)] = 2
    """How often a trial that fails is taken up again from its own checkpoint."""
    stop_after_same_error: Annotated[int, Field(ge=0)] = 3
    """The study stops when so many trials in a row have failed with the same error, since the next would too; 0: never.
    A loss that is not finite does not count: that is the configuration's doing. Nor does a lack of memory, once a trial
    of the study had enough of it."""
    on_out_of_memory: Literal["fail", "accumulate"] = "fail"
    """What becomes of a trial whose first steps do not fit into the device's memory. `accumulate`: it starts once more
    with twice the parts (optim.accumulate) at the same batch size, and its config in the logs says so."""
    storage: Annotated[str, Field(min_length=1), AfterValidator(_place)] = "studies"
    """Folder that all nodes share, or the URI of an object storage (s3://bucket/folder); the study lives in
    <storage>/<name>."""
    record: str = "journal"
    """Where Optuna's trials lie: `journal`, a file in the study's folder, or a database's URL such as
    sqlite:////shared/studies.db. optuna-dashboard reads both. Results are never read from there."""
    confirm: ConfirmConfig | None = None
    """The confirmation after the search; none: there is none planned."""
    keep_checkpoints: Literal["best", "all", "none"] = "best"
    """Of finished trials: keep those that the export may still name (the best; with two objectives the front; those
    that the confirmation takes; of a configuration whose seeds are not all in, its first run), of all, or of none."""
    logging: LoggingConfig = LoggingConfig()

    @property
    def bounds(self) -> dict[str, dict[str, Any]]:
        """The constraints as plain data, as `analysis.stats.constraints` takes them."""
        return {name: one.model_dump() for name, one in self.constraints.items()}

    @field_validator("record")
    @classmethod
    def _record_is_a_file_or_a_database(cls, value: str) -> str:
        if value == "journal" or "://" in value:
            return value
        hint = did_you_mean(value, ["journal"])
        if value == "memory":
            hint = "; a study that was begun with `memory` goes on with the version that began it"
        raise ValueError(
            f"record = {value!r} is neither `journal`, a file in the study's folder, nor a database's URL such as "
            f"sqlite:////shared/studies.db{hint}"
        )

    @model_validator(mode="after")
    def _gpu_hours_need_gpus(self) -> Self:
        if self.budget.gpu_hours is not None and not self.resources.gpus_per_worker:
            raise ValueError(
                f"budget.gpu_hours = {self.budget.gpu_hours:g}, and resources.gpus_per_worker is 0: no GPU hour is "
                "ever used; set gpus_per_worker, or use budget.hours"
            )
        return self
