"""The study file's `objective` section: what a trial is scored by, and which way is better."""

from typing import Annotated, Literal

from pydantic import Field

from analysis.stats.objective import sign_of
from analysis.units import Metric
from trainers.common.section import Section


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
    unit: Annotated[str, Field(max_length=20)] | None = None
    """Its unit, as for the objective."""


class ObjectiveConfig(Section, _Directed):
    """What a trial is scored by: the last value of an epoch metric, or of two."""

    metric: str = "val/miou"
    """A metric that the trainer reports (trainers.interface.epoch_record lists them); the default is on held-out
    training images."""
    mode: Literal["max", "min"] = "max"
    """Whether more or less of it is better."""
    unit: Annotated[str, Field(max_length=20)] | None = None
    """Its unit, as live table and report show it, such as `%` for scores from 0 to 100; '' for none. None: our own
    trainer's names tell it; another trainer's metric has none."""
    second_objective: SecondObjectiveConfig | None = None
    """A second metric. The search then has no single winner, and the report shows the Pareto front; the scheduler goes
    by the first."""

    @property
    def measured(self) -> Metric:
        """The metric with its unit."""
        return Metric(self.metric, self.unit)

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
