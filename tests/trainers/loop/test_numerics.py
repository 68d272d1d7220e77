"""PyTorch's global switches during a run, and after it."""

import os
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
from torch import nn

from tests.trainers.runs import tiny
from trainers.cli.train import process_group
from trainers.data.open import open_data
from trainers.data.read import Reader
from trainers.loop.evaluate import evaluate
from trainers.loop.fit import numerics
from trainers.loop.process_group import current


@pytest.mark.parametrize("before", [True, False])
def test_a_run_fills_no_new_tensors_and_leaves_the_switch_as_it_was(before, monkeypatch):
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", before)
    with numerics(tiny().precision):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
    assert torch.utils.deterministic.fill_uninitialized_memory == before


@pytest.mark.parametrize(("given", "found"), [(None, ":4096:8"), (":16:8", ":16:8")])
def test_cublas_has_its_workspace_before_anything_is_computed_and_a_user_s_own_stays(given, found):
    environment = {name: value for name, value in os.environ.items() if name != "CUBLAS_WORKSPACE_CONFIG"}
    environment |= {} if given is None else {"CUBLAS_WORKSPACE_CONFIG": given}
    code = "import trainers, os, sys; print(os.environ['CUBLAS_WORKSPACE_CONFIG'], 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [found, "False"]


class Asks(nn.Module):
    """A network that notes whether cuDNN would try all its algorithms."""

    def __init__(self, classes):
        super().__init__()
        self.convolution, self.seen = nn.Conv2d(3, classes, 1), set()

    def forward(self, images):
        self.seen.add(torch.backends.cudnn.benchmark)
        return self.convolution(images)


@pytest.mark.parametrize(("mode", "tried"), [("whole", False), ("sliding", True)])
def test_cudnn_is_not_tuned_to_every_size_of_whole_images(mode, tried, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    config = tiny(evaluation={"mode": mode})
    data = open_data(config.data, final=False)
    network = Asks(data.num_classes)
    named = {"reader": Reader(data.num_classes), "num_classes": data.num_classes, "process": current("cpu")}
    evaluate({"student": network}, data.holdout[:2], config=config, main="student", prefix="val", **named)
    assert network.seen == {tried}
    assert torch.backends.cudnn.benchmark


@pytest.mark.parametrize(("gpu", "fails", "destroyed"), [(True, True, 0), (True, False, 1), (False, True, 1)])
def test_after_an_error_nccls_group_is_not_waited_for(gpu, fails, destroyed, monkeypatch):
    begun, ended = [], []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(dist, "init_process_group", begun.append)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: ended.append(1))

    def train():
        with process_group(tiny()):
            if fails:
                raise RuntimeError("on this process")

    if fails:
        with pytest.raises(RuntimeError):
            train()
    else:
        train()
    assert begun == ["nccl" if gpu else "gloo"]
    assert len(ended) == destroyed
