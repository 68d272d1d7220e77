"""How many trials a cluster holds at once. Pure functions of what Ray says that its nodes have."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ipix_tune.trainer.resources import ResourcesConfig
from trainers.common.errors import UserError


class ResourceError(UserError):
    """The cluster cannot hold a single trial."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How many trials run at once, and what one takes of what there is (Ray's resource names)."""

    concurrent: int
    per_trial: dict[str, float]
    cluster: dict[str, float]
    idle: str | None = None
    """Why GPUs have nothing to do, though each trial takes some, and what would change it."""


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
    worker, all_of_it = per_worker(resources), per_trial(resources)
    concurrent = room(resources, nodes or [cluster])
    if concurrent < 1:
        raise ResourceError(
            f"one trial takes {resources.workers} x ({amounts(worker)}) = {amounts(all_of_it)}, and the cluster has "
            f"{amounts({name: cluster.get(name, 0) for name in worker})}{_on_nodes(nodes, worker)}. Lower "
            "resources.workers, resources.cpus_per_worker or resources.gpus_per_worker, or add nodes"
        )
    idle = _short_of_cpus(resources, nodes or [cluster]) if resources.concurrent is None else None
    if resources.concurrent is not None:
        concurrent = min(concurrent, resources.concurrent)
    return Fit(concurrent=concurrent, per_trial=all_of_it, cluster=dict(cluster), idle=idle)


def _short_of_cpus(resources: ResourcesConfig, nodes: Sequence[Mapping[str, float]]) -> str | None:
    """A sentence where nodes have GPUs for more workers than they have CPUs for."""
    worker = per_worker(resources)
    if "GPU" not in worker:
        return None
    workers = [(node, _room("GPU", node.get("GPU", 0), worker["GPU"])) for node in nodes]
    short = [(node, wanted - _slots(node, worker), wanted) for node, wanted in workers if wanted > _slots(node, worker)]
    if not short:
        return None
    lacking = sum(missing for _, missing, _ in short) * worker["GPU"]
    each = math.floor(min(node.get("CPU", 0) / wanted for node, _, wanted in short))
    remedy = f"resources.cpus_per_worker={each} uses them, or give" if each >= 1 else "give"
    return (
        f"{lacking:g} of {sum(node.get('GPU', 0) for node in nodes):g} GPU stay idle for want of CPUs, of which "
        f"resources.cpus_per_worker takes {worker['CPU']:g} for each worker; {remedy} each node more CPUs"
    )


def per_worker(resources: ResourcesConfig) -> dict[str, float]:
    """What one worker takes, by Ray's names."""
    asked = {"CPU": float(resources.cpus_per_worker), "GPU": float(resources.gpus_per_worker)}
    return {name: amount for name, amount in asked.items() if amount > 0}


def per_trial(resources: ResourcesConfig) -> dict[str, float]:
    """What one trial takes, by Ray's names."""
    return {name: amount * resources.workers for name, amount in per_worker(resources).items()}


def room(resources: ResourcesConfig, nodes: Sequence[Mapping[str, float]]) -> int:
    """Trials that these nodes hold at once, whatever `resources.concurrent` says."""
    worker = per_worker(resources)
    return sum(_slots(node, worker) for node in nodes) // resources.workers


def _slots(node: Mapping[str, float], worker: Mapping[str, float]) -> int:
    return min(_room(name, node.get(name, 0), amount) for name, amount in worker.items())


def _room(name: str, there: float, amount: float) -> int:
    """How often ``amount`` fits. A fraction of a GPU lies on one card: two cards have no room for a third 0.6."""
    if name == "GPU" and amount < 1:
        whole, rest = divmod(there, 1)
        return int(whole) * math.floor(1 / amount + 1e-9) + math.floor(rest / amount + 1e-9)
    return math.floor(there / amount + 1e-9)


def amounts(of: Mapping[str, float]) -> str:
    """Such as "4 CPU + 1 GPU"."""
    return " + ".join(f"{amount:g} {name}" for name, amount in of.items())


def _on_nodes(nodes: Sequence[Mapping[str, float]], worker: Mapping[str, float]) -> str:
    if len(nodes) < 2:
        return ""
    slots = sum(_slots(node, worker) for node in nodes)
    each = "; ".join(amounts({name: node.get(name, 0) for name in worker}) for node in nodes)
    return f" on {len(nodes)} nodes ({each}), where {slots} such workers fit, since one cannot span two nodes"
