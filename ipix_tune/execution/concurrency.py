"""How many trials may run at once on a cluster that changes, and what those that wait are waiting for."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ipix_tune.execution import cluster, placement
from ipix_tune.execution.resources import Fit, ResourceError, amounts, fit_resources, per_trial, per_worker, room
from ipix_tune.trainer.resources import ResourcesConfig

LOOK_EVERY_S = 5.0
SAID_AFTER_S = 30.0
"""How long trials wait before it is said: starting a process takes some of that."""
SAID_AGAIN_S = 600.0

Nodes = Sequence[Mapping[str, float]]
Say = Callable[[str], object]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A cluster as it is now, in Ray's resource names.

    Args:
        total: what all nodes have.
        nodes: what each has.
        free: what nobody uses.
        ahead: the kinds of node that an autoscaler may have, and how many; empty where none is known.
        standing: what this study holds and waits for.
    """

    total: Mapping[str, float]
    nodes: Nodes
    free: Mapping[str, float]
    ahead: Sequence[tuple[Mapping[str, float], int]]
    standing: placement.PlacementGroups


def seen() -> Seen:
    """Ask Ray."""
    import ray

    total, nodes = cluster.inventory()
    return Seen(
        total=total,
        nodes=nodes,
        free=ray.available_resources(),
        ahead=cluster.room_ahead(),
        standing=placement.standing(),
    )


class Concurrency:
    """Trials at once, asked again while a study runs: nodes join and leave.

    Where an autoscaler is known, as many trials again are handed out as there is room for, up to what it may add:
    it adds nodes for what waits.

    Args:
        resources: the study's section.
        say: prints a line.
        on_no_room: called with the reason once no node has had room for a trial for `resources.wait_for_nodes_s`.
        look: gives the cluster as it is.
        clock: seconds, from any start.
    """

    def __init__(
        self,
        resources: ResourcesConfig,
        *,
        say: Say,
        on_no_room: Callable[[str], object],
        look: Callable[[], Seen] = seen,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resources, self._say, self._on_no_room = resources, say, on_no_room
        self._look, self._clock = look, clock
        self._seen: Seen | None = None
        self._looked = -math.inf
        self._waits_since: float | None = None
        self._lacks_since: float | None = None
        self._said: tuple[str, float] | None = None

    def limit(self) -> int:
        """Trials that may run or wait for their place now; at least one, since an autoscaler adds nodes for it."""
        self.refresh()
        if self._seen is None:
            return 1
        found = room(self._resources, self._seen.nodes)
        if self._seen.ahead:
            found = max(found, min(room_of(self._resources, self._seen.ahead), 2 * found))
        cap = self._resources.concurrent
        return max(1, found if cap is None else min(found, cap))

    def refresh(self) -> None:
        """Ask again where the last answer is old; say what trials wait for. Called often."""
        import ray

        now = self._clock()
        if now - self._looked < LOOK_EVERY_S:
            return
        self._looked = now
        try:
            self._seen = self._look()
        except (OSError, RuntimeError, ray.exceptions.RayError):  # a head that is away for a moment; the last one holds
            return
        self._complain(self._seen, now)

    def _complain(self, at: Seen, now: float) -> None:
        waiting = at.standing.waiting
        self._waits_since = None if not waiting else now if self._waits_since is None else self._waits_since
        lacks = bool(waiting) and not at.standing.held and room(self._resources, at.nodes) == 0
        self._lacks_since = None if not lacks else now if self._lacks_since is None else self._lacks_since
        if self._lacks_since is not None and now - self._lacks_since >= self._resources.wait_for_nodes_s:
            self._on_no_room(
                f"no node of the cluster had room for a trial for {self._resources.wait_for_nodes_s:g} s "
                f"(resources.wait_for_nodes_s): one takes {amounts(per_trial(self._resources))}, and the cluster has "
                f"{_of(self._resources, at.total)}"
            )
        if self._waits_since is None or now - self._waits_since < SAID_AFTER_S:
            return
        why = waits_for(self._resources, at)
        if why is not None and (self._said is None or self._said[0] != why[0] or now - self._said[1] > SAID_AGAIN_S):
            self._said = (why[0], now)
            self._say(why[1])


def waits_for(resources: ResourcesConfig, at: Seen) -> tuple[str, str] | None:
    """What the trials that wait are waiting for: a word for the kind of cause, and the line to print; None where there
    is room, and they only start."""
    need, held = per_trial(resources), at.standing.held
    count = len(at.standing.waiting)
    trials = f"{count} trial{'' if count == 1 else 's'} wait{'s' if count == 1 else ''}"
    if room(resources, at.nodes) == 0:
        return "nodes", (
            f"{trials} for a node: one takes {amounts(need)}, and the cluster has {_of(resources, at.total)}. Without "
            f"room for one the study ends after {resources.wait_for_nodes_s:g} s (resources.wait_for_nodes_s)"
        )
    short = {name: amount for name, amount in need.items() if at.free.get(name, 0) < amount - 1e-9}
    others = {
        name: used
        for name in short
        if (used := at.total.get(name, 0) - at.free.get(name, 0) - held.get(name, 0)) > 1e-9
    }
    if others:
        return "others", (
            f"{trials} for {amounts(short)}, used by others: of {amounts({name: at.total[name] for name in others})} "
            f"others use {amounts(others)}, this study {amounts({name: held.get(name, 0) for name in others})}"
        )
    if short and at.ahead:
        return "autoscaler", f"{trials} for {amounts(short)}, for which the cluster's autoscaler may add nodes"
    return None


def room_of(resources: ResourcesConfig, kinds: Sequence[tuple[Mapping[str, float], int]]) -> int:
    """Trials that fit where there is as much as there may be of every kind of node."""
    worker = per_worker(resources)
    slots = sum(count * room(resources.model_copy(update={"workers": 1}), [node]) for node, count in kinds if worker)
    return slots // resources.workers


def _of(resources: ResourcesConfig, total: Mapping[str, float]) -> str:
    return amounts({name: total.get(name, 0) for name in per_worker(resources)})


def may_come(resources: ResourcesConfig, total: Mapping[str, float], ahead: Sequence[tuple[Any, int]]) -> bool:
    """Whether a cluster without room for a trial is worth waiting for: its autoscaler may add enough nodes, or, where
    none is known, it has nothing at all yet of a resource that a trial takes."""
    if ahead:
        return room_of(resources, ahead) > 0
    return any(not total.get(name, 0) for name in per_worker(resources))


def no_room_yet(resources: ResourcesConfig, total: Mapping[str, float]) -> str:
    """Says that the cluster has no room for a trial, and how long the study waits for it."""
    has, takes = _of(resources, total), amounts(per_trial(resources))
    return (
        f"the cluster has no room for a trial yet (it has {has}; one takes {takes}); "
        f"a study waits {resources.wait_for_nodes_s:g} s for it (resources.wait_for_nodes_s)"
    )


def awaited(
    resources: ResourcesConfig,
    *,
    may_grow: bool,
    say: Say,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Fit:
    """The trials that the cluster holds at once. One whose nodes have not come yet is waited for, for
    `resources.wait_for_nodes_s` at most.

    Args:
        may_grow: nodes can join it; a Ray of this machine has what it has.

    Raises:
        ResourceError: it cannot hold a trial, with the numbers and what was waited for.
    """
    total, nodes = cluster.inventory()
    try:
        return fit_resources(resources, cluster=total, nodes=nodes)
    except ResourceError:
        if not may_grow or not may_come(resources, total, cluster.room_ahead()):
            raise
    until = clock() + resources.wait_for_nodes_s
    say(f"{no_room_yet(resources, total)}: waiting for nodes")
    with placement.asked_for([per_worker(resources)] * resources.workers):
        while True:
            total, nodes = cluster.inventory()
            try:
                return fit_resources(resources, cluster=total, nodes=nodes)
            except ResourceError as error:
                if clock() >= until:
                    raise ResourceError(
                        f"{error}. None that is large enough came in {resources.wait_for_nodes_s:g} s: see what "
                        "`ray status` says, then start this again, with a larger resources.wait_for_nodes_s where "
                        "nodes take longer"
                    ) from None
            sleep(min(1.0, max(0.0, until - clock())))
