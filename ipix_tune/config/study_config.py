"""The study file, typed. The training config inside it (`trainer`) is partial: `search` fills the rest."""

import builtins
from decimal import Decimal
from itertools import accumulate
from typing import Annotated, Any, Literal, Self, cast

from pydantic import AfterValidator, Field, field_validator, model_validator

from analysis.stats.objective import sign_of
from ipix_tune.trainer.resources import ResourcesConfig, Value
from trainers.common.errors import did_you_mean
from trainers.common.section import Section

MOST_STEPS = 10_000
"""Of a quniform dimension, whose values are listed here and there."""
KINDS = ("uniform", "loguniform", "quniform", "int", "logint", "choice")


class Prior(Section):
    """What is believed of one dimension before the study: where its good values lie, and how sure that is."""

    center: Value
    """The value believed best."""
    spread: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of a range: the standard deviation as a fraction of the range, on its own scale; default 0.2. Of a choice: how
    often all values are drawn evenly instead of the center taken; default 0.5."""


class Dimension(Section):
    """One search dimension: exactly one kind, and optionally a condition and a prior."""

    uniform: tuple[float, float] | None = None
    """[low, high]"""
    loguniform: tuple[float, float] | None = None
    """[low, high], both above 0"""
    quniform: tuple[float, float, float] | None = None
    """[low, high, step]"""
    int: tuple[builtins.int, builtins.int] | None = None
    """[low, high], both ends included"""
    logint: tuple[builtins.int, builtins.int] | None = None
    """[low, high], both ends included, low above 0"""
    choice: tuple[Value, ...] | None = None
    """the values to choose from"""
    only_if: dict[str, Value | list[Value]] | None = None
    """Searched only where these other keys (searched or fixed) have this value, or one of these values."""
    prior: Prior | None = None
    """What is believed of it before the study; the sampler tpe uses it."""

    @property
    def kind(self) -> str:
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @model_validator(mode="after")
    def _one_kind_in_range(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(KINDS)}; got {', '.join(given) or 'none'}")
        kind, value = given[0], getattr(self, given[0])
        if kind == "choice":
            if not value:
                raise ValueError("choice is empty; list at least one value")
            if len(set(map(repr, value))) < len(value):
                raise ValueError(f"choice lists a value twice: {list(value)}")
            return self
        low, high = value[0], value[1]
        if low >= high:
            raise ValueError(f"{kind} [{low}, {high}] is empty: low must be below high")
        if kind.startswith("log") and low <= 0:
            raise ValueError(f"{kind} [{low}, {high}] passes through 0: low must be above 0")
        if kind == "quniform":
            _check_step(low, high, value[2])
        return self

    @model_validator(mode="after")
    def _conditions_can_hold(self) -> Self:
        if self.only_if is not None and (not self.only_if or [] in self.only_if.values()):
            raise ValueError("only_if is empty; name a key and the value, or values, under which this is searched")
        return self


def _check_step(low: float, high: float, step: float) -> None:
    """Decimal arithmetic, as YAML's numbers are decimal: 0.1 divides 0.7."""
    if step <= 0:
        raise ValueError(f"quniform step is {step}; it must be above 0")
    steps = (Decimal(str(high)) - Decimal(str(low))) // Decimal(str(step))
    if steps > MOST_STEPS:
        raise ValueError(
            f"quniform [{low}, {high}, {step}] has {steps:.0f} steps, and {MOST_STEPS} are the most: no study tells "
            "neighbours among so many apart. Give a larger step, or uniform"
        )
    reached = Decimal(str(low)) + steps * Decimal(str(step))
    if reached != Decimal(str(high)):
        raise ValueError(
            f"quniform [{low}, {high}, {step}] does not reach {high}; the last value below it is {reached}"
        )


class _Directed:
    """Which way an objective points."""

    mode: str

    @property
    def sign(self) -> int:
        """1 where more is better, else -1."""
        return sign_of(self.mode)

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """The same in the words of Optuna and W&B."""
        return "maximize" if self.sign > 0 else "minimize"


class SecondObjectiveConfig(Section, _Directed):
    """A second objective, which the first is weighed against."""

    metric: str
    """A metric that the trainer reports, such as time/step_ms or memory/peak_mib."""
    mode: Literal["max", "min"] = "min"
    """Whether more or less of it is better."""


class ObjectiveConfig(Section, _Directed):
    """What a trial is scored by: the last value of an epoch metric, or of two."""

    metric: str = "val/miou"
    """A metric that the trainer reports (trainers.interface.epoch_record lists them); the default is on held-out
    training images."""
    mode: Literal["max", "min"] = "max"
    """Whether more or less of it is better."""
    second_objective: SecondObjectiveConfig | None = None
    """A second metric. The search then has no single winner, and the report shows the Pareto front; the scheduler goes
    by the first."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The one or two metrics."""
        return tuple(one.metric for one in self.each)

    @property
    def each(self) -> "tuple[ObjectiveConfig | SecondObjectiveConfig, ...]":
        """The objective itself, and the second where there is one."""
        return (self,) if self.second_objective is None else (self, self.second_objective)

    @property
    def second_sign(self) -> int | None:
        """The second objective's sign; None where there is none."""
        return None if self.second_objective is None else self.second_objective.sign


class SamplerConfig(Section):
    """Where new configurations come from."""

    name: Literal["tpe", "random", "gp", "cmaes", "grid"] = "tpe"
    """`tpe`: tree-structured Parzen estimator; `gp`: Gaussian process; `cmaes`: evolution strategy; `grid`: every
    value of discrete dimensions; docs/explanation/search.md compares them."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Fixes what the sampler draws."""
    startup_trials: Annotated[int, Field(ge=0)] = 10
    """Random trials before the model takes over (tpe, gp, cmaes)."""


class SchedulerConfig(Section):
    """Which trials go on. Fidelity is the epoch; the full length is `trainer.schedule.epochs`."""

    name: Literal["asha", "none"] = "asha"
    """`asha`: asynchronous successive halving stops the worse trials at rungs; `none`: every trial runs in full."""
    grace_epochs: Annotated[int, Field(ge=1)] = 1
    """No trial is stopped before it has run this many epochs: the first rung."""
    reduction: Annotated[int, Field(ge=2)] = 3
    """One in so many goes on at each rung; rungs are grace * reduction ** k."""
    quota: bool = True
    """Hold each rung to that share, except for a new best. A searcher that learns gives ever better trials, and plain
    ASHA (false) lets almost all of these run in full."""


class NoImprovement(Section):
    """End the search when it has stopped getting better."""

    trials: Annotated[int, Field(ge=1)]
    """So many trials in a row, stopped ones among them, ..."""
    by: Annotated[float, Field(ge=0)] = 0.5
    """... none of which ran to its end and was better than the best before by more than this, in units of the
    objective. The default is about what seeds differ by in the published logs of UniMatch on Pascal VOC: smaller
    improvements may be luck."""


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


class ConfirmConfig(Section):
    """Paired seeds for the leading configurations, the defaults, and both with parts switched off."""

    top: Annotated[int, Field(ge=1, le=10)] = 2
    """Configurations of the search to confirm: the best by their last score at full length."""
    defaults: builtins.bool | dict[str, Value] = True
    """The configuration to beat: the study's first point (true), training config keys to lay over `trainer`, or none
    (false)."""
    ablate: dict[str, Value] | dict[str, dict[str, Value]] | list[dict[str, Value]] = Field(default_factory=dict)
    """Training config keys and the values that switch a part off, such as `interpixel.alpha: 0`: every configuration is
    also run with these. Runs that differ only in keys without effect are made once. A list of such mappings, or a
    mapping of names to them, is a ladder: every step adds its keys to those of the steps before it, and is compared
    with the step before."""
    contrast: list[str] = Field(default_factory=list)
    """Searched choices: the leading configuration is also run with every other value of each."""
    variants: dict[str, dict[str, Value]] = Field(default_factory=dict)
    """Further configurations by name: the defaults with these training config keys set, compared with the defaults.
    Where there are no defaults: the leading configuration with them, compared with that."""
    first_seeds: Annotated[int, Field(ge=2)] = 3
    """Seeds of every configuration before the first look."""
    max_seeds: Annotated[int, Field(ge=2, le=30)] = 10
    """Seeds of a configuration at most; each fixes initialisation, order, views, and the split draw where there is
    one."""
    delta: Annotated[float, Field(gt=0)] = 0.3
    """Smallest difference that matters, in units of the objective."""
    error: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Chance that any of the verdicts is wrong, over all comparisons and looks."""
    after_search: builtins.bool = False
    """Confirm as soon as the search has ended; false: `ipix-tune confirm` does."""
    prefer: Literal["winner", "simplest"] = "winner"
    """What is exported: the winner, or the simplest configuration that is equivalent to it within delta."""

    @model_validator(mode="after")
    def _budget_covers_the_first_look(self) -> Self:
        if self.max_seeds < self.first_seeds:
            raise ValueError(f"max_seeds = {self.max_seeds} is below first_seeds = {self.first_seeds}")
        return self

    @model_validator(mode="after")
    def _every_step_switches_something_off(self) -> Self:
        for number, (name, step) in enumerate(zip(self.step_names, self.steps, strict=True)):
            if not step:
                which = number if name is None else name
                raise ValueError(f"ablate: step {which} is empty; name the keys that it sets, or remove it")
        return self

    @model_validator(mode="after")
    def _names_are_their_own(self) -> Self:
        steps = [name for name in self.step_names if name is not None]
        for key, what, names in (("ablate", "step", steps), ("variants", "variant", list(self.variants))):
            for name in names:
                taken = name == "defaults" or name.startswith("top ") or " with " in name or "(equal to" in name
                if taken or not name.strip() or (key == "variants" and name in steps):
                    raise ValueError(
                        f"{key}: {name!r} is no name for a {what}: `defaults`, `top 1`, ..., names that hold ' with ' "
                        "or '(equal to', and names of the ablation's steps are those of others; give another"
                    )
        for name, keys in self.variants.items():
            if not keys:
                raise ValueError(f"variants: {name} sets nothing; name the keys that differ")
        return self

    @property
    def steps(self) -> tuple[dict[str, Value], ...]:
        """The ablation's steps: what each sets, beyond those before it."""
        if isinstance(self.ablate, list):
            return tuple(self.ablate)
        if (named := self.named_steps) is not None:
            return tuple(named.values())
        return (cast("dict[str, Value]", self.ablate),) if self.ablate else ()

    @property
    def named_steps(self) -> dict[str, dict[str, Value]] | None:
        """The ablation's steps by name, where they have names."""
        if isinstance(self.ablate, dict) and any(isinstance(step, dict) for step in self.ablate.values()):
            return cast("dict[str, dict[str, Value]]", self.ablate)
        return None

    @property
    def step_names(self) -> tuple[str | None, ...]:
        """The names of :attr:`steps`; None where a step has none."""
        named = self.named_steps
        return (None,) * len(self.steps) if named is None else tuple(named)

    @property
    def ladder(self) -> tuple[dict[str, Value], ...]:
        """The ablation's steps: all that is set from the first one on."""
        return tuple(accumulate(self.steps, lambda before, step: before | step))


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

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name of the study and of its folder."""
    trainer: dict[str, Any]
    """The training config, as far as it is fixed."""
    search: dict[str, Dimension]
    """Dimensions by the dotted name of a training config leaf."""
    points: list[dict[str, Value]] = Field(default_factory=list)
    """Configurations to try first; the shipped studies put the paper's defaults here."""
    warm_start: list[str] = Field(default_factory=list)
    """Folders of earlier studies with tables/, whose trials the sampler tpe learns from; relative to the working
    directory."""
    objective: ObjectiveConfig = ObjectiveConfig()
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
    storage: str = "studies"
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
