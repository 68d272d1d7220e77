"""What a trial's actor tells the driver, as one typed message: Ray Tune carries it as a result, a plain mapping."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

SCORE = "objective"
"""Name of the score in a result, which Ray Tune's searcher asks for."""
_NAMES = {"score": SCORE}
_METRICS = "metrics"


@dataclass(frozen=True, kw_only=True)
class TrialMessage:
    """An epoch of a trial, its placement group, or why it ends. What is None was not told.

    Args:
        epoch: how many epochs are done.
        score: the study's objective after this epoch; None where it was not evaluated.
        metrics: all that the trainer reported of the epoch, by name.
        split_hash: of the lists that the trial trains on.
        accumulate: the parts in which it computes a step, where it ran out of memory and takes more than its config
            says.
        placement_group: the group that holds its workers, in hexadecimal; '' where there is none.
        infeasible: which constraint it breaks, in words; it ends with this epoch.
        failed: why it cannot go on; it is not worth a retry.
        cause: what kind of error that is, as `ipix_tune.search.repeated_error` tells them apart.
        unwritable: why the study's storage cannot be written; the trial goes on from its checkpoint once that is
            mended.
    """

    epoch: int | None = None
    score: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    split_hash: str | None = None
    accumulate: int | None = None
    placement_group: str | None = None
    infeasible: str | None = None
    failed: str | None = None
    cause: str | None = None
    unwritable: str | None = None

    def to_result(self) -> dict[str, Any]:
        """The message as the result dictionary that Ray Tune passes on."""
        told = {_NAMES.get(one.name, one.name): getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in told.items() if value is not None and value != {}}

    @classmethod
    def from_result(cls, result: Mapping[str, Any]) -> Self:
        """From what Ray Tune hands on, among whose own keys it stands. A searcher gets the metrics flat, their names
        joined by slashes."""
        told: dict[str, Any] = {one.name: result.get(_NAMES.get(one.name, one.name)) for one in fields(cls)}
        flat = f"{_METRICS}/"
        told[_METRICS] = result.get(_METRICS) or {
            name.removeprefix(flat): value for name, value in result.items() if name.startswith(flat)
        }
        return cls(**told)

    @property
    def seconds(self) -> float:
        """Training and evaluation time of the epoch; 0 where it was not told."""
        return (self.metrics.get("time/epoch_s") or 0) + (self.metrics.get("time/eval_s") or 0)
