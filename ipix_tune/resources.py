"""How many trials the cluster holds at once."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ipix_tune.config import ResourcesConfig
from trainers.errors import UserError


class ResourceError(UserError):
    """The cluster cannot hold a single trial."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How many trials run at once, and what one takes of what there is (Ray's resource names)."""

    concurrent: int
    per_trial: dict[str, float]
    cluster: dict[str, float]


def fit_resources(
    resources: ResourcesConfig, *, cluster: Mapping[str, float], nodes: Sequence[Mapping[str, float]] = ()
) -> Fit:
    """Trials that the cluster holds at once: floor(slots / workers), where a slot is room for one worker on one node.

    Args:
        cluster: total resources by Ray's names, such as {"CPU": 16, "GPU": 4}.
        nodes: the same of every node; without it the cluster counts as one node.

    Raises:
        ResourceError: not even one trial fits, with the numbers.
    """
    worker = {"CPU": float(resources.cpus_per_worker), "GPU": float(resources.gpus_per_worker)}
    worker = {name: amount for name, amount in worker.items() if amount > 0}
    slots = sum(_slots(node, worker) for node in nodes or [cluster])
    concurrent = slots // resources.workers
    per_trial = {name: amount * resources.workers for name, amount in worker.items()}
    if concurrent < 1:
        raise ResourceError(
            f"one trial takes {resources.workers} x ({_amounts(worker)}) = {_amounts(per_trial)}, and the cluster has "
            f"{_amounts({name: cluster.get(name, 0) for name in worker})}{_on_nodes(nodes, worker, slots)}. Lower "
            "resources.workers, resources.cpus_per_worker or resources.gpus_per_worker, or add nodes"
        )
    if resources.concurrent is not None:
        concurrent = min(concurrent, resources.concurrent)
    return Fit(concurrent=concurrent, per_trial=per_trial, cluster=dict(cluster))


def _slots(node: Mapping[str, float], worker: Mapping[str, float]) -> int:
    return min(_room(name, node.get(name, 0), amount) for name, amount in worker.items())


def _room(name: str, there: float, amount: float) -> int:
    """How often ``amount`` fits. A fraction of a GPU lies on one card: two cards have no room for a third 0.6."""
    if name == "GPU" and amount < 1:
        whole, rest = divmod(there, 1)
        return int(whole) * math.floor(1 / amount + 1e-9) + math.floor(rest / amount + 1e-9)
    return math.floor(there / amount + 1e-9)


def _amounts(amounts: Mapping[str, float]) -> str:
    return " + ".join(f"{amount:g} {name}" for name, amount in amounts.items())


def _on_nodes(nodes: Sequence[Mapping[str, float]], worker: Mapping[str, float], slots: int) -> str:
    if len(nodes) < 2:
        return ""
    each = "; ".join(_amounts({name: node.get(name, 0) for name in worker}) for node in nodes)
    return f" on {len(nodes)} nodes ({each}), where {slots} such workers fit, since one cannot span two nodes"
