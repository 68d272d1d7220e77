"""What all tests share: a cache of their own, so that the data set is made once, no network for W&B, and, for those who
ask for it, an object storage on this machine."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path

import pytest

with contextlib.suppress(ModuleNotFoundError):  # where only the tests that need a GPU are run
    from hypothesis import HealthCheck, settings

    slow = [HealthCheck.too_slow]  # a busy machine is no fault of a test
    settings.register_profile("no timing", deadline=None, suppress_health_check=slow)
    settings.load_profile("no timing")

S3_STARTS_S = 60

pytest.register_assert_rewrite("tests.ipix_tune.running", "tests.chaos.watch")  # what failed there is told with values


def pytest_collection_modifyitems(items):
    """Tests marked `gpu` are skipped where PyTorch finds no CUDA device, instead of failing one by one."""
    marked = [item for item in items if item.get_closest_marker("gpu") is not None]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and PyTorch finds none here"))


@pytest.fixture
def cluster(monkeypatch):
    """A Ray whose head has no CPUs, as a cluster that was scaled to zero; nodes are added to it."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield made
    made.shutdown()


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Keeps what is made in the user's cache folder within the test session; its processes share it."""
    patch = pytest.MonkeyPatch()
    own = tmp_path_factory.getbasetemp()
    session = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    patch.setenv("XDG_CACHE_HOME", str(session / "cache"))
    patch.delenv("WANDB_MODE", raising=False)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    """The address of a real S3 server, moto's, in a process of its own, and the path of its log of requests. The test
    process and its children find it through the environment."""
    command = shutil.which("moto_server", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert command is not None, 'no moto_server here; install the development packages: pip install -e ".[dev]"'
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, log = f"http://127.0.0.1:{port}", tmp_path_factory.mktemp("s3") / "requests.log"
    patch = pytest.MonkeyPatch()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.setenv(name, "testing")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    patch.setenv("AWS_ENDPOINT_URL", address)
    with log.open("wb") as stream:
        server = subprocess.Popen([command, "-H", "127.0.0.1", "-p", str(port)], stdout=stream, stderr=stream)
    try:
        _wait_for(port, server)
        yield address, log
    finally:
        server.terminate()
        server.wait()
        patch.undo()


def _wait_for(port, server):
    until = time.monotonic() + S3_STARTS_S
    while time.monotonic() < until and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("moto_server did not start")


@pytest.fixture
def bucket(s3_server):
    """A new bucket's URI."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    urllib.request.urlopen(urllib.request.Request(f"{s3_server[0]}/{name}", method="PUT")).close()
    return f"s3://{name}"
