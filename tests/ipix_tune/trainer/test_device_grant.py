import io

import pytest
import torch
from rich.console import Console

from ipix_tune.config.study_config import StudyConfig
from ipix_tune.config.validate_space import check_study
from ipix_tune.execution.trainable import train_on_ray
from ipix_tune.study.dry_run import dry_run
from ipix_tune.trainer.interface import SpaceError
from ipix_tune.trainer.own.device_grant import (
    describe_device,
    few_images,
    granted,
    idle_gpus,
    limit_memory,
    share_of_memory,
    shares,
)
from ipix_tune.trainer.resources import ResourcesConfig
from tests.ipix_tune.studies import base, config_of
from trainers.common.errors import ConfigError
from trainers.models.build import build_model
from trainers.models.model_config import ModelConfig

GIB = 1024**3


def study_of(*, device="auto", **resources):
    data = base()
    data["trainer"]["precision"] = {"device": device}
    return check_study(StudyConfig.model_validate(data | {"resources": resources}), source="study", lines={})


@pytest.mark.parametrize(
    ("asked", "gpus", "given"),
    [("auto", 0, "cpu"), ("auto", 0.5, "auto"), ("auto", 1, "auto"), ("cpu", 0, "cpu"), ("cpu", 1, "cpu")],
)
def test_a_trial_without_a_gpu_of_its_own_trains_on_the_cpu(asked, gpus, given):
    config = config_of(precision={"device": asked})
    assert granted(config, ResourcesConfig(gpus_per_worker=gpus)).precision.device == given


def test_a_study_that_asks_for_cuda_and_grants_no_gpu_is_refused_before_a_cluster_is_asked():
    with pytest.raises(SpaceError, match=r"precision\.device = cuda and resources\.gpus_per_worker = 0") as caught:
        study_of(device="cuda")
    assert caught.value.path == ("trainer", "precision", "device")
    study_of(device="cuda", gpus_per_worker=1)


def test_a_final_training_on_ray_with_cuda_and_no_gpu_is_refused_before_a_cluster_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr("ipix_tune.execution.cluster.connected", lambda *_, **__: pytest.fail("a cluster was asked"))
    with pytest.raises(ConfigError, match=r"resources\.gpus_per_worker = 0"):
        train_on_ray(
            config_of(precision={"device": "cuda"}),
            tmp_path,
            workers=1,
            cpus_per_worker=1,
            gpus_per_worker=0,
            address=None,
        )


@pytest.mark.parametrize("gpus", [0.1, 0.25, 1 / 3, 0.5])
@pytest.mark.parametrize("total", [16 * GIB, 80 * GIB])
def test_trials_that_share_a_gpu_fit_together_with_what_cuda_takes_for_each(gpus, total):
    share = share_of_memory(gpus, total=total)
    sharing = int(1 / gpus + 1e-9)
    assert sharing * (share * total + 600 * 1024**2) <= total * (1 + 1e-9)
    assert share > 0.6 * gpus


@pytest.mark.parametrize("gpus", [0, 1, 2])
def test_a_whole_gpu_is_not_limited(gpus):
    assert share_of_memory(gpus, total=80 * GIB) is None


def test_the_limit_is_set_for_this_process_on_the_gpu_that_it_sees_first(monkeypatch):
    limits = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: type("Gpu", (), {"total_memory": 60 * GIB}))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *limit: limits.append(limit))
    limit_memory(1)
    limit_memory(0)
    assert limits == []
    limit_memory(0.5)
    assert limits == [(pytest.approx(0.5 - 600 / 1024 / 60), 0)]


def test_without_a_gpu_nothing_is_limited(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *_: pytest.fail("there is no GPU"))
    limit_memory(0.5)


@pytest.mark.parametrize(
    ("device", "resources", "said"),
    [
        ("auto", {}, "CPU (precision.device: auto, and no GPU per worker)"),
        ("cpu", {"gpus_per_worker": 1}, "CPU; 1 GPU a worker is reserved and not used"),
        ("auto", {"gpus_per_worker": 0.25}, "a GPU shared by 4 trials: each may take 25 % of its memory"),
        ("auto", {"gpus_per_worker": 1}, "GPU"),
        ("auto", {"gpus_per_worker": 2}, "GPU; 2 are reserved for each worker, which uses one"),
    ],
)
def test_the_plan_says_what_a_trial_trains_on(device, resources, said):
    assert describe_device(device, ResourcesConfig.model_validate(resources)).startswith(said)


def test_gpus_that_no_trial_is_granted_are_a_warning():
    free = idle_gpus("auto", ResourcesConfig(), {"CPU": 8.0, "GPU": 4.0})
    assert free.startswith("the cluster has 4 GPU and resources.gpus_per_worker is 0")
    assert idle_gpus("auto", ResourcesConfig(gpus_per_worker=1), {"GPU": 4.0}) is None
    assert idle_gpus("cpu", ResourcesConfig(), {"GPU": 4.0}) is None
    assert idle_gpus("auto", ResourcesConfig(), {"CPU": 8.0}) is None


@pytest.mark.usefixtures("estimated_once")
def test_a_dry_run_prints_the_device_and_warns_of_gpus_that_no_trial_uses():
    console = Console(file=io.StringIO(), width=250)
    console.print(dry_run(study_of(), cluster={"CPU": 2, "GPU": 4}))
    text = console.file.getvalue()
    assert "CPU (precision.device: auto, and no GPU per worker)" in text
    assert "the cluster has 4 GPU and resources.gpus_per_worker is 0" in text


@pytest.mark.parametrize(("cpus", "workers"), [(1, 1), (6, 5)])
def test_a_trial_on_a_gpu_starts_as_many_loader_workers_as_its_cpus_allow(cpus, workers):
    given = granted(config_of(), ResourcesConfig(gpus_per_worker=1, cpus_per_worker=cpus))
    assert given.data.loader_workers == workers


def test_a_trial_on_a_cpu_leaves_the_loader_to_its_process():
    assert granted(config_of(), ResourcesConfig(cpus_per_worker=6)).data.loader_workers == "auto"


@pytest.mark.parametrize(
    ("batch", "resources", "warned"),
    [
        (4, {"workers": 4, "gpus_per_worker": 1}, True),
        (16, {"workers": 4, "gpus_per_worker": 1}, False),
        (1, {"workers": 1, "gpus_per_worker": 1}, False),
        (4, {"workers": 4}, False),
    ],
)
def test_few_images_a_gpu_are_warned_about_where_batch_norm_is_over_several(batch, resources, warned):
    config = config_of(data={**base()["trainer"]["data"], "batch_size": batch})
    assert (few_images(config, ResourcesConfig.model_validate(resources)) is not None) == warned


def test_no_batch_norm_over_several_gpus_is_not_warned_about():
    config = config_of(optim={"batch_norm": "device"})
    assert few_images(config, ResourcesConfig(workers=4, gpus_per_worker=1)) is None


@pytest.mark.parametrize(("over", "said"), [("global", "the images of all workers"), ("device", "each worker's own")])
def test_a_workers_share_of_a_step_is_said_with_what_batch_norm_is_over(over, said):
    resources = ResourcesConfig(workers=2)
    assert f"2 labelled images a worker; batch norm over {said}" in shares(
        config_of(optim={"batch_norm": over}), resources
    )


def test_one_worker_has_all_of_a_step():
    assert shares(config_of(), ResourcesConfig()) is None


@pytest.mark.usefixtures("estimated_once")
def test_a_dry_run_prints_the_share_of_each_of_several_workers():
    console = Console(file=io.StringIO(), width=250)
    console.print(dry_run(study_of(workers=2), cluster={"CPU": 2}))
    assert "2 labelled images a worker" in console.file.getvalue()


def test_the_warnings_counts_are_those_of_resnet_50s_layers():
    layers = sum(
        isinstance(one, torch.nn.BatchNorm2d)
        for one in build_model(ModelConfig(backbone="resnet50", weights="none"), num_classes=21, seed=0).modules()
    )
    passes = 2  # of a UniMatch step in train mode: labelled with weak images, and both strong views
    assert (layers * passes * 2, layers * passes * 3) == (248, 372)
    text = few_images(config_of(), ResourcesConfig(workers=4, gpus_per_worker=1))
    assert "248 exchanges, 372 waits" in text
