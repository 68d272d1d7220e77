"""What a study asks a trainer of the machine: what a trial takes, what it needs there, and the run itself."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ipix_tune.trainer.peers import ALONE, Peers
from ipix_tune.trainer.resources import ResourcesConfig, Value
from ipix_tune.trainer.told import Checked, Config, Report, Section


class Machine(Protocol):
    """A trainer on a machine."""

    joined: bool
    """Whether the workers of a trial are joined in one process group of PyTorch before :meth:`run`."""

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

    def run(self, config: Config, folder: Path, report: Report, peers: Peers = ALONE) -> None:
        """Train in the folder, or go on there; every epoch is reported, those of an earlier start anew.

        Args:
            peers: the other workers of the trial, on each of which this is called too, with a folder of the same
                contents.

        Raises:
            UserError, TrainingError: a retry would end so too.
            Exception: anything else; the run may be tried again.
        """
        ...
