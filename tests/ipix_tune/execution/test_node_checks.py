import contextlib
import os
import time

import pytest
from rich.console import Console

from ipix_tune.config.load_study import load
from ipix_tune.execution import phase
from ipix_tune.execution.node_checks import LOOK_EVERY_S, LateNodes, NodeError, check_nodes, look
from ipix_tune.study import run_search
from ipix_tune.trainer.own.trainer import OwnTrainer
from tests.ipix_tune.studies import base, config_of, write
from trainers.data.open import open_data

TRAINER = OwnTrainer()


@pytest.fixture
def mark(tmp_path):
    file = tmp_path / "studies" / ".seen"
    file.parent.mkdir()
    file.touch()
    return file


@pytest.fixture(scope="module")
def data():
    return config_of()


@pytest.fixture(scope="module")
def split(data):
    return open_data(data.data, final=False).split_hash


def test_a_node_that_sees_everything_has_no_fault(data, mark, split):
    assert look(TRAINER, data, mark, split) == []


def test_a_node_without_the_data_names_the_folder_that_it_lacks(mark, split, tmp_path):
    voc = {"name": "voc", "root": str(tmp_path / "VOC2012"), "labelled": "l.txt", "unlabelled": "u.txt"}
    data = config_of(data={"crop": 32, "batch_size": 4, "holdout": {"images": 8}} | voc)
    (fault,) = look(TRAINER, data, mark, split)
    assert fault.startswith(f"data.root: no folder at {tmp_path / 'VOC2012'}")


def test_a_node_with_other_images_under_the_same_path_says_so(data, mark):
    (fault,) = look(TRAINER, data, mark, "another split")
    assert "holds other images than the driver's" in fault


def test_a_storage_of_the_same_name_that_is_not_shared_is_a_fault(data, mark, split):
    mark.unlink()
    assert look(TRAINER, data, mark, split) == [
        f"storage: {mark.parent} is not the driver's, but a folder of this node alone"
    ]


def test_a_node_without_the_storage_names_it(data, tmp_path, split):
    (fault,) = look(TRAINER, data, tmp_path / "missing" / ".seen", split)
    assert fault == f"storage: {tmp_path / 'missing'} cannot be written: No such file or directory"


@pytest.mark.slow
def test_the_node_whose_data_cannot_be_opened_is_named_before_a_study_starts(tmp_path, monkeypatch):
    """Two real nodes with homes of their own; that of the second is a file, so that nothing can lie below it."""
    import ray
    from ray.cluster_utils import Cluster

    (tmp_path / "home").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    data = config_of(data=config_of().data.model_dump() | {"root": "~/scenes"})
    cluster = Cluster()
    try:
        for home in ("home", "file"):
            cluster.add_node(num_cpus=1, env_vars={"HOME": str(tmp_path / home)})
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        ray.init(address=cluster.address, log_to_driver=False)
        with pytest.raises(NodeError, match=os.uname().nodename) as raised:
            check_nodes(TRAINER, data, tmp_path / "studies")
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert str(raised.value).count(f"cannot be made in {tmp_path / 'file' / 'scenes'}") == 1
    assert str(tmp_path / "home") not in str(raised.value)
    assert list((tmp_path / "studies").iterdir()) == []


@pytest.mark.slow
def test_a_node_that_joins_later_and_lacks_the_data_is_named_once_and_one_that_has_all_is_not(tmp_path, monkeypatch):
    """Real nodes with homes of their own; that of the last is a file, so that nothing can lie below it."""
    import ray
    from ray.cluster_utils import Cluster

    (tmp_path / "home").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "study.yaml").touch()
    data, said, seconds = config_of(data=config_of().data.model_dump() | {"root": "~/scenes"}), [], [0.0]
    cluster = Cluster()
    try:
        cluster.add_node(num_cpus=1, env_vars={"HOME": str(tmp_path / "home")})
        ray.init(address=cluster.address, log_to_driver=False)
        late = LateNodes(TRAINER, data, tmp_path / "study.yaml", say=said.append, clock=lambda: seconds[0])
        late.look()
        for home in ("home", "file"):
            cluster.add_node(num_cpus=1, env_vars={"HOME": str(tmp_path / home)})
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and (seconds[0] == 0 or late._open):
            seconds[0] += LOOK_EVERY_S
            late.look()
            time.sleep(0.2)
        seconds[0] += LOOK_EVERY_S
        late.look()
    finally:
        ray.shutdown()
        cluster.shutdown()
    (warning,) = said
    assert f"warning: {os.uname().nodename} (" in warning
    assert f"cannot be made in {tmp_path / 'file' / 'scenes'}" in warning


def test_a_study_with_such_a_node_leaves_no_folder_that_would_have_to_be_resumed(tmp_path, monkeypatch):
    def refuse(trainer, data, storage):
        raise NodeError("gpu-07 (10.0.0.7): storage: /shared cannot be written")

    monkeypatch.setattr(phase.cluster, "connected", lambda address, nested: contextlib.nullcontext())
    monkeypatch.setattr(phase.cluster, "inventory", lambda: ({"CPU": 2.0}, [{"CPU": 1.0}, {"CPU": 1.0}]))
    monkeypatch.setattr(phase, "check_nodes", refuse)
    loaded = load(write(tmp_path, base() | {"storage": str(tmp_path / "studies")}))
    with pytest.raises(NodeError, match="gpu-07"):
        run_search.run(loaded, resume=False, address="head:6379", console=Console(quiet=True))
    assert not (tmp_path / "studies").exists()
