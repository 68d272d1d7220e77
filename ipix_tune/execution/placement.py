"""Ray's placement groups of a study: what they hold, what those that wait ask for, and none of them left behind."""

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

RELEASE_S = 2.0
"""Wait before the placement group of a nested trial is removed: earlier, its controller may still be alive, see its
workers die, and ask for a new group."""

JOBS = ".jobs"
"""File in a study's folder: a node of the cluster and the Ray job of every driver so far."""

COUNTED = ("CPU", "GPU")


@dataclass(frozen=True, kw_only=True)
class PlacementGroups:
    """What the groups of this job hold together, and what each of those that wait asks for (Ray's resource names)."""

    held: dict[str, float]
    waiting: list[dict[str, float]]


def standing() -> PlacementGroups:
    """The present state of this job's placement groups, without those that ask for neither CPU nor GPU."""
    import ray
    from ray.util import placement_group_table

    job = ray.get_runtime_context().get_job_id()
    own = [group for name, group in placement_group_table().items() if name.endswith(job)]
    asked = [(group["state"], _sum(group["bundles"].values())) for group in own]
    return PlacementGroups(
        held=_sum(amounts for state, amounts in asked if state == "CREATED"),
        waiting=[amounts for state, amounts in asked if amounts and state in ("PENDING", "RESCHEDULING")],
    )


def _sum(bundles: Iterable[Mapping[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for bundle in bundles:
        for name, amount in bundle.items():
            if name in COUNTED and amount:
                found[name] = found.get(name, 0) + amount
    return found


@contextlib.contextmanager
def asked_for(bundles: list[dict[str, float]]) -> Iterator[None]:
    """Ask for these bundles meanwhile, so that an autoscaler adds nodes for them."""
    from ray.util import placement_group, remove_placement_group

    group = placement_group(bundles)
    try:
        yield
    finally:
        remove_placement_group(group)


def created_groups() -> list[str]:
    """Ids of placement groups that hold resources."""
    from ray.util import placement_group_table

    return [name for name, group in placement_group_table().items() if group["state"] == "CREATED"]


def free_groups(job: str | None = None) -> int:
    """Remove a job's placement groups that are still there once its trials are over; returns how many. A group's id
    ends with the id of the job that made it. Without ``job``: those of this job."""
    import ray

    job = job or ray.get_runtime_context().get_job_id()
    left = [name for name in created_groups() if name.endswith(job)]
    for name in left:
        _remove(name)
    return len(left)


def _remove(name: str) -> None:
    from ray._raylet import PlacementGroupID
    from ray.util import remove_placement_group
    from ray.util.placement_group import PlacementGroup

    remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(name))))


class Releaser:
    """Frees the workers of nested trials that died, and those that no further trial takes over, so that others can
    start. Ray's own cleaner does the first too, but needs the dashboard, and its thread ends at the first answer that
    it does not get."""

    def __init__(self) -> None:
        self._dead: dict[str, float] = {}
        self._idle: dict[str, float] = {}

    def died(self, name: str) -> None:
        """The trial that used the placement group of this id (hex) died; it is removed in `RELEASE_S` seconds."""
        self._dead[name] = time.monotonic()

    def ended(self, name: str) -> None:
        """The trial that used it ended; another may take over its workers."""
        self._idle[name] = time.monotonic()

    def used(self, name: str) -> None:
        """A trial uses it."""
        self._idle.pop(name, None)

    def look(self, *, awaited: bool) -> None:
        """Remove what is due; called often. While trials are ``awaited`` that have not said which workers they took,
        none count as idle."""
        now = time.monotonic()
        if awaited:
            self._idle = dict.fromkeys(self._idle, now)
        due = {name for group in (self._dead, self._idle) for name, since in group.items() if now - since > RELEASE_S}
        for group in (self._dead, self._idle):
            for name in due & group.keys():
                del group[name]
        for name in due.intersection(created_groups() if due else ()):
            _remove(name)


def free_leftovers(folder: Path) -> int:
    """Remove placement groups that a driver of this study, killed on this same cluster, left behind; returns how many.
    Drivers note their cluster and job in ``folder``."""
    import ray

    note, job = folder / JOBS, ray.get_runtime_context().get_job_id()
    cluster = ray.nodes()[0]["NodeID"] if ray.nodes() else ""
    before = [line.split() for line in note.read_text().splitlines()] if note.exists() else []
    alive = {node["NodeID"] for node in ray.nodes()}
    freed = sum(free_groups(line[1]) for line in before if len(line) == 2 and line[0] in alive and line[1] != job)
    with note.open("a") as file:
        file.write(f"{cluster} {job}\n")
    return freed
