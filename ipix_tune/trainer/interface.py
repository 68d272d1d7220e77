"""The one seam between a study and the code that trains: what a study asks of a trainer, and nothing else.

A trainer is chosen by the study's `trainer` section and knows all about it. A *config* is all that one run is given: a
pydantic model of the trainer's own, of which a study uses the plain data alone. Keys are dotted names; where they stand
in the section and in a config's data is the trainer's to say.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from ipix_tune.trainer.resources import ResourcesConfig, Value
from trainers.common.errors import ConfigError
from trainers.common.yaml_file import Lines

Config = BaseModel
"""A run's config. Equal plain data (``model_dump(mode="json")``) is an equal config."""
Section = Mapping[str, Any]
"""The study's `trainer` section, or a config's plain data."""


class SpaceError(ConfigError):
    """A search space, a point or a `trainer` section that cannot be used; `path` says where in the study file."""

    def __init__(self, message: str, *, path: tuple[str | int, ...]) -> None:
        super().__init__(message)
        self.path = path


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What a run reports.

    Args:
        epoch: 1, 2, ... up to the full length.
        metrics: by name; one without a value is left out.
        split_hash: of the lists it trains on; '' where the trainer has none.
        saved: a checkpoint of this epoch lies in the run's folder.
        parts: in how many parts a step is computed, where that is not what its config says.
    """

    epoch: int
    metrics: dict[str, float]
    split_hash: str = ""
    saved: bool = False
    parts: int | None = None


NO_DEFAULT = object()
"""Stands for a default that there is not, where None may be one."""
Report = Callable[[Epoch], bool]
"""Takes an epoch, and says whether to go on."""


class Timing(Protocol):
    """What an epoch takes, as measured."""

    @property
    def words(self) -> str:
        """In one line."""
        ...

    def trial_hours(self, epochs: float) -> tuple[float, float]:
        """Hours of one trial for so many epochs, low and high."""
        ...


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a trainer found out about a config before anything is trained.

    Args:
        lines: about data and batches, for the plan.
        memory: about what a worker takes.
        warnings: what a user should know.
        timing: what an epoch takes; None where it was not measured.
    """

    lines: list[str] = field(default_factory=list)
    memory: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    timing: Timing | None = None


class Trainer(Protocol):
    """Code that trains, as a study sees it."""

    kind: str
    """What messages call its config, such as: training config."""
    length_key: str
    """The key of the study file that says how long a trial is at full length."""
    free_keys: bool
    """Whether any key may be searched, also one that the section gives a value for."""
    granted_keys: tuple[str, ...]
    """Keys that :meth:`granted` sets by the machine, which the final training sets anew."""

    # -- keys

    def keys(self) -> Collection[str]:
        """All names that there are, of typed keys; those that the section gives, of free ones."""
        ...

    def path_of(self, name: str) -> tuple[str, ...]:
        """Where a key stands in the section and in a config's plain data."""
        ...

    def key_fault(self, name: str) -> str | None:
        """Why this is no key that can be set, with the nearest spelling; None where it is one."""
        ...

    def unsearchable(self, name: str) -> str | None:
        """Why a key must not differ between the trials of a search; None where it may."""
        ...

    def canonical(self, name: str, value: Any) -> Any:
        """The value in the key's own type ("1e-4" becomes 0.0001); as it is where the key refuses it."""
        ...

    def refusal(self, name: str, value: object) -> str | None:
        """Why a key refuses a value; None where it takes it."""
        ...

    def default(self, data: Section, name: str) -> Any:
        """What a key is where nothing sets it, in a config with this plain data; :data:`NO_DEFAULT` where it has no
        default."""
        ...

    # -- configs

    def check_section(self, section: Section, *, source: str, lines: Lines) -> None:
        """Check what can be told from the section alone.

        Raises:
            ConfigError, SpaceError: it cannot be.
        """
        ...

    def data_of(self, section: Section, values: Mapping[str, Value], choices: Mapping[str, Sequence[Value]]) -> Any:
        """A config's plain data: the section with a trial's values laid over it, not yet validated.

        Args:
            choices: of the searched keys that are choices, their values.

        Raises:
            ConfigError: a value cannot be laid there.
        """
        ...

    def values_fault(
        self, section: Section, values: Mapping[str, Value], choices: Mapping[str, Sequence[Value]]
    ) -> tuple[str, str] | None:
        """The name of a searched key that does not go with the other values, and why; None where all do."""
        ...

    def validated(self, data: Any, *, source: str, lines: Lines) -> Config:
        """The config that plain data are.

        Raises:
            ConfigError: with source, line, key and what is allowed.
        """
        ...

    def check_trial(self, config: Config, *, resources: ResourcesConfig, selects: bool) -> None:
        """Check a trial's config against what a study needs.

        Args:
            selects: trials are stopped, or the best is taken.

        Raises:
            SpaceError: a study cannot have such a trial.
        """
        ...

    def changed(self, config: Config, changes: Mapping[str, Value]) -> Config:
        """The config with these keys set.

        Raises:
            ConfigError: it refuses a value.
        """
        ...

    def max_epochs(self, config: Config) -> int:
        """Full length."""
        ...

    def evaluated_every(self, config: Config) -> int:
        """The epochs between two scores."""
        ...

    # -- keys without effect

    def dead_keys(self, config: Config) -> Mapping[str, str]:
        """Keys that can change nothing in this config, and why."""
        ...

    def depends_on(self, config: Config, name: str) -> Iterable[str]:
        """The keys that decide whether a key has an effect, as the config's fields declare it."""
        ...

    def refused_together(self, section: Section) -> Sequence[str]:
        """Keys of a config's plain data that mean something else now than when they were recorded."""
        ...

    def identity(self, config: Config) -> str:
        """Equal for configs that train alike with equal seeds."""
        ...

    # -- seeds

    def seeds(self) -> str | None:
        """Why runs of this trainer cannot be given a seed, so that nothing can be confirmed; None where they can."""
        ...

    def seed(self, config: Config) -> int:
        """The run's seed."""
        ...

    def with_seed(self, config: Config, number: int, *, first: int) -> Config:
        """The config with seed ``first + number``, for run ``number`` (0, 1, ...) of a confirmation."""
        ...

    # -- metrics

    def score(self, section: Section) -> str | None:
        """The metric that the section names as the score; None: the study's `objective` alone says it."""
        ...

    def metric_fault(self, name: str, section: Section, *, cost: bool) -> str | None:
        """Why this is no metric of the trainer, with the nearest that there is, as it goes on behind the name (" is
        ..." or ": ..."); None where it may be one.

        Args:
            section: what the study fixes.
            cost: it is asked for as a second objective, such as a time.
        """
        ...

    # -- the machine

    def granted(self, config: Config, resources: ResourcesConfig) -> Config:
        """The config as a trial with these resources has it."""
        ...

    def device(self, config: Config, resources: ResourcesConfig) -> str:
        """The plan's line about the device of a trial."""
        ...

    def idle(self, config: Config, resources: ResourcesConfig, cluster: Mapping[str, float]) -> str | None:
        """A warning where the cluster has GPUs that no trial will use."""
        ...

    def check(self, config: Config, resources: ResourcesConfig) -> list[str]:
        """Try what a trial needs (data, weights, command) before anything starts; lines about it.

        Raises:
            UserError: whatever would stop the trial at its start.
        """
        ...

    def plan(self, configs: Sequence[Config], resources: ResourcesConfig, *, measured: bool) -> Checked:
        """The same for the plan, with memory and cost.

        Args:
            configs: of the study, the first point's first, as granted.
            measured: also time a few steps of each.
        """
        ...

    def check_kinds(self, kinds: Iterable[tuple[Mapping[str, Value], Config]], resources: ResourcesConfig) -> None:
        """What the trials of a study would be built of, without the data.

        Args:
            kinds: searched values with the config that they make, at points and corners of the space.

        Raises:
            UserError: such a trial cannot start.
        """
        ...

    def check_node(self, config: Config, seen: str) -> str:
        """What every node that runs trials needs, tried on this one; a digest of it, which must be the same on all.

        Args:
            seen: the digest on the driver; '' where this is the driver.

        Raises:
            UserError: something is not there, or is something else.
        """
        ...

    def fetches_data(self, config: Config) -> bool:
        """Whether a node first fetches its data, so that its answer may take long."""
        ...

    def facts(self, config: Config) -> tuple[Sequence[str], str]:
        """Names of the classes, and the hash of the lists; empty where the trainer has none."""
        ...

    def data_state(self, config: Config) -> str:
        """A digest of the data, by which a study sees that they have changed; '' where it cannot be told."""
        ...

    def how_to_run(self, config: Config) -> Sequence[str]:
        """Lines that tell a user how to run the config outside a study."""
        ...

    def smoke(self, section: Section) -> dict[str, Any]:
        """The section of two tiny epochs."""
        ...

    # -- a run

    def limit_memory(self, data: Section, gpus: float) -> None:
        """Hold this process to its share of a GPU, where several trials share one.

        Args:
            data: the config's plain data.
            gpus: `resources.gpus_per_worker`.
        """
        ...

    def parts(self, data: Section) -> int:
        """In how many parts a config computes a step."""
        ...

    def in_parts(self, config: Config, parts: int) -> Config:
        """The config that computes a step in so many parts, for a device whose memory is short."""
        ...

    def run(self, config: Config, folder: Path, report: Report) -> None:
        """Train in the folder, or go on there; every epoch is reported, those of an earlier start anew.

        Raises:
            UserError, TrainingError: a retry would end so too.
            Exception: anything else; the run may be tried again.
        """
        ...
