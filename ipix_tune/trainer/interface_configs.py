"""What a study asks a trainer of its configs: how they are made and checked, their length, seed and score."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ipix_tune.trainer.exported import ExportedConfig, Recipe
from ipix_tune.trainer.resources import ResourcesConfig, Value
from ipix_tune.trainer.told import Config, Section
from trainers.common.config_faults import Lines


class Configs(Protocol):
    """The configs of a trainer."""

    kind: str
    """What messages call its config, such as: training config."""
    length_key: str
    """The key of the study file that says how long a trial is at full length."""
    has_recipe: bool
    """Whether there is a final recipe of a confirmed config."""

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

    def seeds(self) -> str | None:
        """Why runs of this trainer cannot be given a seed, so that nothing can be confirmed; None where they can."""
        ...

    def seed(self, config: Config) -> int:
        """The run's seed."""
        ...

    def with_seed(self, config: Config, number: int, *, first: int) -> Config:
        """The config with seed ``first + number``, for run ``number`` (0, 1, ...) of a confirmation."""
        ...

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

    def how_to_run(self, config: Config) -> Sequence[str]:
        """Lines that tell a user how to run the config outside a study."""
        ...

    def smoke(self, section: Section) -> dict[str, Any]:
        """The section of two tiny epochs."""
        ...

    def recipe(
        self, config: Config, *, rows: Sequence[Mapping[str, Any]], confirmed: Any, seeds: int, give_back: bool | None
    ) -> Recipe | None:
        """The final recipe of a config; None where there is none of this trainer.

        Args:
            rows: all runs of the study, of the table `runs`.
            confirmed: its arm and the confirmation (`analysis.stats.confirm.results`); None where nothing is known of
                its spread.
            seeds: how many runs are to be trained.
            give_back: train on held-out images too; None: where that can be done.

        Raises:
            RecipeError: it cannot be made so.
        """
        ...

    def exported(self, config: Config, *, final: bool | None, recipe: Recipe | None, file: str) -> ExportedConfig:
        """The config as an export writes it.

        Args:
            final: False: it is not scored on a validation list at its end.
            recipe: takes the config's place.
            file: what it is written to.
        """
        ...
