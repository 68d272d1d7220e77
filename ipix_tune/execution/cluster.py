"""Ray on this machine or a cluster that is there already: connect, count, leave nothing behind."""

import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ipix_tune.execution import placement
from ipix_tune.execution.machine import asked_address, check_machine
from trainers.common.errors import UserError

SETTLE_S = 3.0
"""Wait before leaving a cluster after nested trials: a controller that loses its workers while the job ends can
otherwise make a placement group that nobody frees."""

ANSWER_S = 5.0
"""Longest wait for a cluster's port to answer. Ray itself would wait minutes for a head that is not there."""

HEALTH_S = 60.0
"""Longest wait for Ray's health check at an address that is given."""
NO_HEAD = "Timed out while waiting for GCS"
"""What it says where nothing answers that speaks Ray's protocol."""

_QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_THRESHOLD_S": "10",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
}
"""Set before Ray is imported: Ray's own printing off, our signal handling, no snapshots that we do not read."""

_WORKERS = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.3",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
}
"""In a cluster's processes: how often Ray Train looks after a trial's workers, and one process fewer; how long a
trial's actor may take to leave a stopped trial before it is given another, instead of 2 s."""


class ClusterError(UserError):
    """The Ray cluster cannot be reached."""


@contextlib.contextmanager
def connected(address: str | None, *, nested: bool) -> Iterator[None]:
    """Ray for the length of a study.

    Args:
        address: a cluster's address or ``auto``; None: what RAY_ADDRESS says, else a Ray started on this machine.
        nested: trials start workers of their own. Their placement groups are freed through Ray's State API, which
            needs the dashboard.

    Raises:
        ClusterError: there is no cluster at the address.
        UserError: no Ray can be started on this machine.
    """
    check_machine(address)
    for name, value in {**_QUIET, **_WORKERS}.items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray.tune.execution.experiment_state").setLevel(logging.CRITICAL)  # its snapshots are not read
    import ray

    address = asked_address(address)
    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "runtime_env": {
            "env_vars": {**_WORKERS, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_CHDIR_TO_TRIAL_DIR": "0"},
            **({"worker_process_setup_hook": "ipix_tune.execution.cluster.name_own_cluster"} if nested else {}),
        },
    }
    if address is None:
        options |= {"include_dashboard": nested, "num_cpus": usable_cpus(), "address": "local"}
    else:
        options["address"] = address
        options["runtime_env"]["py_modules"] = _our_code()
    started = not ray.is_initialized()
    if started:
        try:
            _see_that_it_answers(address)
            ray.init(**options)
        except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            raise _refused(address, error) from None
        except Exception as error:
            if address is not None or "timed out during startup" not in str(error):  # Ray raises a bare Exception
                raise
            raise ClusterError(
                "Ray did not start on this machine in the time that it allows itself: the machine is too busy, or has "
                "too little memory. Try again when it has less to do"
            ) from None
    try:
        yield
    finally:
        if nested:
            time.sleep(SETTLE_S)
            placement.free_groups()
        if started:
            ray.shutdown()


def may_grow(address: str | None) -> bool:
    """Whether nodes can join: the Ray is not one that is started here for the study alone."""
    return asked_address(address) is not None


def usable_cpus() -> int:
    """CPUs that this process may use: fewer than the machine has under an affinity (Slurm, taskset) or a quota
    (containers)."""
    from joblib import cpu_count

    return int(cpu_count())


def _see_that_it_answers(address: str | None) -> None:
    """Connect to the port of an address that names one. What `auto` means is left to Ray.

    Raises:
        ClusterError: nothing listens there.
    """
    named = (os.environ.get("RAY_ADDRESS") or "auto") if address == "auto" else address or "local"
    host, _, port = named.rpartition("//")[-1].rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"no Ray cluster at {named}: {error}. Start one with: ray start --head --port {port}; or leave out "
            "--address and RAY_ADDRESS for a Ray on this machine"
        ) from None
    _see_that_it_is_ray(f"{host}:{port}")


def _see_that_it_is_ray(named: str) -> None:
    """Ray's own health check, in a process that can be ended: where something else listens, Ray waits for ever.

    Raises:
        ClusterError: none answers, or it has not ended after `HEALTH_S`. Of what else is wrong `ray.init` says more.
    """
    check = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", named]
    try:
        said = subprocess.run(check, capture_output=True, check=False, timeout=HEALTH_S, text=True).stderr
    except subprocess.TimeoutExpired:
        said = NO_HEAD
    if NO_HEAD in said:
        raise ClusterError(
            f"something listens at {named} and does not answer as a Ray cluster's head. Give the port of "
            "`ray start --head` (6379 unless set), not the dashboard's (8265) or Ray Client's (10001)"
        )


def _refused(address: str | None, error: Exception) -> ClusterError:
    """Something may be there, and Ray did not get in."""
    first = str(error).splitlines()[0].rstrip(".")
    if address is None:
        return ClusterError(f"Ray did not start on this machine: {first}")
    if isinstance(error, ValueError) or "any running Ray" in first:
        return ClusterError(
            f"no Ray cluster at {address}: {first}. Give --address HOST:PORT; start a cluster with: ray start --head; "
            "or leave out --address and RAY_ADDRESS for a Ray on this machine"
        )
    mode = os.environ.get("RAY_AUTH_MODE") or "not set"
    return ClusterError(
        f"cannot join the Ray cluster at {address}: {first}. RAY_AUTH_MODE is {mode} here and must be what the cluster "
        "has: where the log of `ray start --head` says that token authentication is enabled, set RAY_AUTH_MODE=token "
        "and RAY_AUTH_TOKEN to what `ray get-auth-token` prints on the head; where it says disabled, set "
        "RAY_AUTH_MODE=disabled"
    )


def name_own_cluster() -> None:
    """Runs first in every process of a nested study. Ray Train's cleaner of placement groups finds its cluster through
    RAY_ADDRESS, else through a file in Ray's temporary folder, which names another cluster, or a dead one, on a machine
    where `ray start` was used; it would then wait for that one and free nothing."""
    import ray

    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address


def _our_code() -> list[str]:
    """Our packages' folders, sent to the cluster's nodes, which need what we depend on but not us."""
    specs = [find_spec(name) for name in ("trainers", "ipix_tune", "analysis")]
    return [str(Path(str(spec.origin)).parent) for spec in specs if spec is not None]


def inventory() -> tuple[dict[str, float], list[dict[str, float]]]:
    """Resources of the cluster, and of every live node."""
    import ray

    nodes = [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]
    return dict(ray.cluster_resources()), nodes


def room_ahead() -> list[tuple[dict[str, float], int]]:
    """The kinds of node that the cluster's autoscaler may have, and how many of each; empty where none is known."""
    import ray

    config = ray._private.state.state.get_cluster_config()
    if config is None:
        return []
    kinds = ((dict(one.resources), one.max_count) for one in config.node_group_configs)
    return [(resources, sys.maxsize if count < 0 else count) for resources, count in kinds]
