"""A Python function as the trainer of a study: `module:name`, or one that a script or a notebook hands over.

It is called as ``function(config, report)`` in the trial's process. ``config`` is the mapping below `trainer.config`
with the trial's values; ``report(epoch, {"val/miou": 71.2}, checkpoint=path)`` says how it goes and returns whether to
stop. A trial with several workers calls it on each of them, joined in one process group of PyTorch.
"""

import glob
import importlib
import inspect
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ipix_tune.trainer import told_checkpoints
from ipix_tune.trainer.free import SEED, FreeConfig, FreeTrainer
from ipix_tune.trainer.interface import Checked, Config, Epoch, Report, Section
from ipix_tune.trainer.peers import ALONE, Peers
from ipix_tune.trainer.resources import ResourcesConfig, Value
from ipix_tune.trainer.told_epochs import ToldEpochs
from trainers.common.atomic import replacing
from trainers.common.config_faults import Lines
from trainers.common.errors import ConfigError, did_you_mean
from trainers.common.section import Section as BaseSection
from trainers.common.yaml_file import validate

GIVEN: dict[str, Callable[..., object]] = {}
"""Functions that were handed over in this process, by the name that the study has for them."""
CHECKPOINT = "checkpoint.txt"
"""File in a run's folder that names the last checkpoint that was reported."""


class FunctionRun(FreeConfig):
    """One run of a function."""

    function: str
    """`module:name`, importable where the trials run."""


class FunctionSection(BaseSection):
    """The study's `trainer` section where it has `function`."""

    function: str
    config: dict[str, Any] = Field(default_factory=dict)
    epochs: Annotated[int, Field(ge=1)]
    score: str


class Reporter:
    """What a function reports through.

    Args:
        told: where it goes; None where another worker's reports count.
        folder: the run's.
        epochs: full length of the run.
        seed: the run's.
        peers: the run's other workers, each of which reports every epoch, to learn whether to stop.
    """

    def __init__(self, told: ToldEpochs | None, folder: Path, *, epochs: int, seed: int, peers: Peers = ALONE) -> None:
        self._told, self._latest, self._peers = told, time.monotonic(), peers
        self.run_dir = folder
        """A folder for checkpoints and whatever else; the same one when the run is taken up again."""
        self.epochs = epochs
        """Full length of the run."""
        self.seed = seed
        """The run's seed."""
        self.stopped = False
        """Whether the run should end."""
        found = None if (name := peers.first_says(_noted(folder))) is None else folder / name
        self.checkpoint: Path | None = found if found is not None and found.exists() else None
        """The last checkpoint that an earlier start of this run reported; None where it starts anew."""

    def __call__(self, epoch: int, metrics: Mapping[str, float], checkpoint: str | Path | None = None) -> bool:
        """How the run stands after an epoch; whether it should stop.

        Args:
            epoch: 1, 2, ... up to :attr:`epochs`.
            metrics: by name, the score among them.
            checkpoint: a file from which the run can go on, already on disk.

        Raises:
            ValueError: there is no such epoch.
        """
        if not 1 <= epoch <= self.epochs:
            raise ValueError(f"epoch {epoch}: allowed are 1 to {self.epochs} (trainer.epochs)")
        if self._told is not None:
            self._tell(self._told, epoch, metrics, checkpoint)
        self.stopped = self._peers.first_says(self.stopped) is not False  # None: rank 0 has ended
        return self.stopped

    def _tell(self, told: ToldEpochs, epoch: int, metrics: Mapping[str, float], checkpoint: str | Path | None) -> None:
        if checkpoint is not None:
            place = Path(checkpoint).absolute()
            inside = place.is_relative_to(self.run_dir)  # which may lie elsewhere when the run is taken up
            if inside:
                told_checkpoints.tell(self.run_dir, [glob.escape(str(place.relative_to(self.run_dir)))])
            with replacing(self.run_dir / CHECKPOINT) as file:
                file.write_text(str(place.relative_to(self.run_dir) if inside else place))
        took, self._latest = time.monotonic() - self._latest, time.monotonic()
        numbers = {"time/epoch_s": took, **{name: float(value) for name, value in metrics.items()}}
        if not told.tell(Epoch(epoch=epoch, metrics=numbers, saved=checkpoint is not None)):
            self.stopped = True


class FunctionTrainer(FreeTrainer):
    """See :class:`ipix_tune.trainer.interface.Trainer`."""

    kind = "function"
    joined = True

    def __init__(self, section: Section) -> None:
        super().__init__(section)
        name = str(section.get("function"))
        self._given = GIVEN.get(name)
        """Travels with the trainer to other processes."""

    def check_section(self, section: Section, *, source: str, lines: Lines) -> None:
        validate(FunctionSection, dict(section), source=source, lines=lines)

    def data_of(self, section: Section, values: Mapping[str, Value], choices: Mapping[str, Sequence[Value]]) -> Any:
        return {**super().data_of(section, values, choices), SEED: values.get(SEED, 0)}

    def validated(self, data: Any, *, source: str, lines: Lines) -> Config:
        return validate(FunctionRun, data, source=source, lines=lines)

    def seeds(self) -> str | None:
        return None

    def check(self, config: Config, resources: ResourcesConfig) -> list[str]:
        self.check_node(config, "")
        return [f"function: {_own(config).function}", "not checked: its data"]

    def plan(self, configs: Sequence[Config], resources: ResourcesConfig, *, measured: bool) -> Checked:
        return self.planned(self.check(configs[0], resources), _own(configs[0]).score)

    def check_node(self, config: Config, seen: str) -> str:
        self._function(_own(config))
        return ""

    def how_to_run(self, config: Config) -> Sequence[str]:
        return [f"call {_own(config).function}(config, report) with what stands below config"]

    def run(self, config: Config, folder: Path, report: Report, peers: Peers = ALONE) -> None:
        asked = _own(config)
        folder.mkdir(parents=True, exist_ok=True)
        told = ToldEpochs(folder, report) if peers.rank == 0 else None
        if not peers.first_says(told is not None and told.again() and told.last < asked.epochs):
            return
        reporter = Reporter(told, folder.absolute(), epochs=asked.epochs, seed=asked.seed, peers=peers)
        self._function(asked)(asked.config, reporter)
        if told is not None and told.last < asked.epochs and not reporter.stopped:
            raise ConfigError(
                f"{asked.function} returned after epoch {told.last} of {asked.epochs} (trainer.epochs): it must report "
                "every epoch up to report.epochs"
            )

    def _function(self, config: FunctionRun) -> Callable[..., object]:
        if self._given is not None:
            return self._given
        return imported(config.function)


def _noted(folder: Path) -> str | None:
    """The checkpoint that was reported last, as it is noted in the run's folder."""
    try:
        return (folder / CHECKPOINT).read_text()
    except OSError:
        return None


def imported(name: str) -> Callable[..., object]:
    """The function `module:name`.

    Raises:
        ConfigError: there is none, or it does not take (config, report).
    """
    module, colon, attribute = name.partition(":")
    if not colon or not attribute:
        raise ConfigError(f"trainer.function = {name}: write module:function, such as my_code.train:fit")
    if "" not in sys.path and "." not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = getattr(importlib.import_module(module), attribute, None)
    except ImportError as error:
        raise ConfigError(f"trainer.function = {name}: {module} cannot be imported here: {error}") from None
    if not callable(found):
        hint = did_you_mean(attribute, [one for one in dir(sys.modules[module]) if not one.startswith("_")])
        raise ConfigError(f"trainer.function = {name}: {module} has no function {attribute}{hint}")
    takes = inspect.signature(found).parameters
    if len([one for one in takes.values() if one.default is one.empty and one.kind is not one.VAR_POSITIONAL]) > 2:
        raise ConfigError(f"trainer.function = {name}: it is called as {attribute}(config, report)")
    function: Callable[..., object] = found
    return function


def hand_over(function: Callable[..., object]) -> str:
    """Make a function of this process known; gives the name that a study has for it."""
    name = f"{function.__module__}:{function.__qualname__}"
    GIVEN[name] = function
    return name


def _own(config: Config) -> FunctionRun:
    assert isinstance(config, FunctionRun)
    return config
