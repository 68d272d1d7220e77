import socket
import time

import pytest

from ipix_tune.execution import cluster
from ipix_tune.execution.cluster import ClusterError, connected


@pytest.fixture
def silent_address():
    """A port that is taken and at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_an_address_where_nothing_listens_is_refused_within_ten_seconds(silent_address):
    began = time.monotonic()
    with pytest.raises(ClusterError, match=f"no Ray cluster at {silent_address}: .*refused.*ray start --head"):
        connected(silent_address, nested=False).__enter__()
    assert time.monotonic() - began < 10


def test_an_address_where_something_else_than_ray_listens_is_refused(monkeypatch):
    """Ray itself waits for ever there."""
    monkeypatch.setattr(cluster, "HEALTH_S", 5.0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        named = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"something listens at {named} and does not answer as a Ray cluster"):
            connected(named, nested=False).__enter__()


def test_auto_means_the_address_of_the_environment(silent_address, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", silent_address)
    with pytest.raises(ClusterError, match=f"no Ray cluster at {silent_address}"):
        connected("auto", nested=False).__enter__()


def test_an_address_that_is_none_is_refused_with_the_form_that_it_needs():
    with pytest.raises(ClusterError, match=r"no Ray cluster at gibberish: .*Give --address HOST:PORT"):
        connected("gibberish", nested=False).__enter__()


def test_a_token_that_is_asked_for_and_missing_is_said_with_where_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr("ipix_tune.execution.cluster._see_that_it_answers", lambda address: None)
    monkeypatch.setattr("ray.init", _no_token)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with pytest.raises(ClusterError, match=r"RAY_AUTH_MODE is token here.*ray get-auth-token"):
        connected("head:6379", nested=False).__enter__()


def _no_token(**options):
    from ray.exceptions import AuthenticationError

    raise AuthenticationError("no authentication token was found")


def test_a_machine_too_busy_to_start_ray_is_said_without_a_traceback(monkeypatch):
    def too_late(**options):
        raise Exception("The current node timed out during startup. This could happen because ...")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", too_late)
    with pytest.raises(ClusterError, match=r"too busy.*Try again"):
        connected(None, nested=False).__enter__()
