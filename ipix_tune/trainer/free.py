"""What trainers with free keys have in common: whatever stands below `config` may be set and searched."""

import copy
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from pydantic import Field

from ipix_tune.trainer.exported import ExportedConfig, Recipe
from ipix_tune.trainer.interface import NO_DEFAULT, Checked, Config, Section
from ipix_tune.trainer.resources import ResourcesConfig, Value
from trainers.common import section as sections
from trainers.common.config_keys import get_dotted, keys_of, set_dotted
from trainers.common.errors import ConfigError
from trainers.common.yaml_file import validate

SEED = "seed"
"""Its own key beside `config`: a grid may run over it."""
RESERVED = {
    "epochs": "it is the fidelity that the scheduler works on",
    "run_dir": "it is the folder of the run",
    "seed": "the best of several seeds is luck, not a setting",
}
"""Names that the study fills in itself."""


class FreeConfig(sections.Section):
    """What every config of such a trainer has."""

    config: dict[str, Any] = Field(default_factory=dict)
    """Settings by name, nested as you like; the search lays its values over them by dotted name."""
    epochs: int = Field(ge=1)
    """Full length of a run: what the scheduler cuts short."""
    score: str
    """The metric that a trial is scored by."""
    seed: int = 0
    """The run's seed."""
    provenance: dict[str, Any] | None = None
    """Where this file came from; written by the export."""


class FreeTrainer:
    """The parts of :class:`ipix_tune.trainer.interface.Trainer` that need no more than free keys below `config`.

    Args:
        section: the study's `trainer` section, or a config's plain data.
    """

    length_key = "trainer.epochs"
    free_keys = True
    has_recipe = False
    granted_keys: tuple[str, ...] = ()

    def __init__(self, section: Section) -> None:
        self._section = section

    def keys(self) -> Collection[str]:
        given = self._section.get("config")
        return keys_of(given) if isinstance(given, Mapping) else ()

    def path_of(self, name: str) -> tuple[str, ...]:
        return (SEED,) if name == SEED else ("config", *name.split("."))

    def key_fault(self, name: str) -> str | None:
        given = self._section.get("config")
        node: Any = given
        for part in name.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        if isinstance(node, Mapping):
            return f"{name} is a mapping of trainer.config; name one of its keys"
        return None

    def unsearchable(self, name: str) -> str | None:
        return RESERVED.get(name)

    def default(self, data: Any, name: str) -> Any:
        return get_dotted(self._section, ".".join(self.path_of(name)), NO_DEFAULT)

    def canonical(self, name: str, value: Any) -> Any:
        return value

    def refusal(self, name: str, value: object) -> str | None:
        return None

    def data_of(self, section: Section, values: Mapping[str, Value], choices: Mapping[str, Sequence[Value]]) -> Any:
        data = copy.deepcopy(dict(section))
        config = data.get("config") or {}
        if not isinstance(config, dict):
            raise ConfigError("config: give a mapping of names to values")
        for name, value in values.items():
            if name != SEED:
                set_dotted(config, name, value)
        data["config"] = config
        return data

    def values_fault(
        self, section: Section, values: Mapping[str, Value], choices: Mapping[str, Sequence[Value]]
    ) -> tuple[str, str] | None:
        return None

    def changed(self, config: Config, changes: Mapping[str, Value]) -> Config:
        data = config.model_dump(mode="json")
        for name, value in changes.items():
            set_dotted(data["config"], name, value)
        return validate(type(config), data, source="confirm", lines={})

    def max_epochs(self, config: Config) -> int:
        return _free(config).epochs

    def evaluated_every(self, config: Config) -> int:
        return 1

    def dead_keys(self, config: Config) -> Mapping[str, str]:
        return {}

    def depends_on(self, config: Config, name: str) -> Iterable[str]:
        return ()

    def refused_together(self, section: Section) -> Sequence[str]:
        return ()

    def identity(self, config: Config) -> str:
        return json.dumps(config.model_dump(mode="json", exclude={"seed", "provenance"}), sort_keys=True)

    def seed(self, config: Config) -> int:
        return _free(config).seed

    def with_seed(self, config: Config, number: int, *, first: int) -> Config:
        return config.model_copy(update={"seed": first + number})

    def score(self, section: Section) -> str | None:
        found = section.get("score")
        return found if isinstance(found, str) else None

    def metric_fault(self, name: str, section: Section, *, cost: bool) -> str | None:
        return None

    def granted(self, config: Config, resources: ResourcesConfig) -> Config:
        return config

    def device(self, config: Config, resources: ResourcesConfig) -> str:
        gpus = resources.gpus_per_worker
        return f"{gpus:g} GPU of CUDA_VISIBLE_DEVICES" if gpus else "CPU"

    def idle(self, config: Config, resources: ResourcesConfig, cluster: Mapping[str, float]) -> str | None:
        if resources.gpus_per_worker or not cluster.get("GPU"):
            return None
        return (
            f"the cluster has {cluster['GPU']:g} GPU and resources.gpus_per_worker is 0: trials see none; "
            "--set resources.gpus_per_worker=1 gives each one"
        )

    def check_trial(self, config: Config, *, resources: ResourcesConfig, selects: bool) -> None:
        """Whatever a trial takes, such a trainer may have."""

    def check_kinds(self, kinds: Iterable[tuple[Mapping[str, Value], Config]], resources: ResourcesConfig) -> None:
        """What a program of the user's is built of is not known."""

    def fetches_data(self, config: Config) -> bool:
        return False

    def facts(self, config: Config) -> tuple[Sequence[str], str]:
        return (), ""

    def data_state(self, config: Config) -> str:
        return ""

    def smoke(self, section: Section) -> dict[str, Any]:
        return {**section, "epochs": 2}

    def limit_memory(self, data: Section, gpus: float) -> None:
        """A program of the user's holds itself to its share. One that is granted no GPU sees none."""
        if not gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""

    def parts(self, data: Section) -> int:
        return 1

    def in_parts(self, config: Config, parts: int) -> Config:
        return config

    def recipe(
        self, config: Config, *, rows: Sequence[Mapping[str, Any]], confirmed: Any, seeds: int, give_back: bool | None
    ) -> Recipe | None:
        return None

    def how_to_run(self, config: Config) -> Sequence[str]:
        return ()

    def exported(self, config: Config, *, final: bool | None, recipe: Recipe | None, file: str) -> ExportedConfig:
        lines = [
            f"# seed {self.seed(config)} is the run's own; give another for a fresh run",
            *(f"# {line}" for told in self.how_to_run(config) for line in told.splitlines()),
        ]
        return ExportedConfig(config=config, final=False, has_val=True, lines=lines)

    def planned(self, lines: list[str], score: str) -> Checked:
        """The plan's lines, with what cannot be told of such a trainer."""
        return Checked(
            lines=lines,
            memory=["not known: it is a program of yours; a first trial shows it"],
            warnings=[
                f"the score is {score}, as the trainer reports it: see that it is on images held out of training"
            ],
        )


def _free(config: Config) -> FreeConfig:
    assert isinstance(config, FreeConfig)
    return config
