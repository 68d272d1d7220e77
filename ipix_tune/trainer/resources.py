"""What one trial takes of the cluster, and the values that a search sets."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from trainers.common.section import Section

Value = bool | int | float | str | None
"""What one key of a run's config can be set to."""


class ResourcesConfig(Section):
    """What one trial takes."""

    workers: Annotated[int, Field(ge=1)] = 1
    """Processes per trial. One runs in the trial's own actor; several run under Ray Train."""
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1
    """CPU cores of each process, its loader workers included."""
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0
    """0: trials train on CPUs. Fractions share a GPU, and its memory, between trials; they need `workers: 1`."""
    concurrent: Annotated[int, Field(ge=1)] | None = None
    """Trials at once at most; none: as many as the cluster holds. Nodes that join or leave are followed."""
    wait_for_nodes_s: Annotated[float, Field(ge=0)] = 600
    """How long a cluster without room for a single trial is waited for, in seconds: before the first trial (its nodes
    may still start), and while the study runs (they may have gone). A Ray of this machine is not waited for."""

    @model_validator(mode="after")
    def _fractions_need_one_worker(self) -> Self:
        gpus = self.gpus_per_worker
        if gpus != int(gpus) and (gpus > 1 or self.workers > 1):
            raise ValueError(
                f"gpus_per_worker = {gpus} with workers = {self.workers}: a fraction must be below 1 and needs "
                "workers = 1, because NCCL refuses two ranks on one GPU"
            )
        return self
