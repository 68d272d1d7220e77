"""torch.compile in a run: the same training but for rounding, and kernels on disk for the next."""

import os

import pytest
import torch

from tests.trainers.runs import TINY, rows, tensors, tiny
from trainers.config import TrainConfig
from trainers.loop import trained_networks
from trainers.loop.fit import fit
from trainers.loop.run import Run
from trainers.loop.step_means import StepMeans
from trainers.models.build import build_model

SCHEDULE = {"epochs": 1, "steps_per_epoch": 2}


@pytest.mark.slow
def test_a_compiled_run_has_the_losses_of_a_plain_one_and_keeps_what_was_compiled(tmp_path, monkeypatch):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for mode in ("off", "default"):
        fit(tiny(schedule=SCHEDULE, precision={"compile": mode}), tmp_path / mode)
    plain, compiled = rows(tmp_path / "off")[0], rows(tmp_path / "default")[0]
    assert compiled["train/loss"] == pytest.approx(plain["train/loss"], rel=1e-3)
    assert tensors(tmp_path / "off").keys() == tensors(tmp_path / "default").keys()
    kept = tmp_path / "cache" / "ipix-tune" / "compiled"
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(kept)
    assert any(path.is_file() for path in kept.rglob("*"))


@pytest.fixture
def graphs(monkeypatch):
    """The graphs that Dynamo made; they run as they are, so that nothing waits for a compiler."""
    made = []

    def backend(graph, inputs):
        made.append(graph)
        return graph.forward

    def compile_networks(networks, mode):
        for network in networks:
            network.compile(backend=backend, dynamic=False)

    torch._dynamo.reset()
    monkeypatch.setattr(trained_networks, "compile_networks", compile_networks)
    yield made
    torch._dynamo.reset()


def test_a_compiled_forward_makes_and_copies_no_upsampling_weights(graphs):
    network = build_model(tiny().model, num_classes=3, seed=0)
    trained_networks.compile_networks([network], "default")
    images = torch.rand(2, 3, 33, 33, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network(images), network.forward(images))
    (graph,) = graphs
    names = {str(node.target) for node in graph.graph.nodes if node.op.startswith("call")}
    assert any("bmm" in name for name in names)
    assert not {name for name in names if any(word in name for word in ("eye", "interpolate", "contiguous_format"))}
    assert not any(
        isinstance(one, torch.device) for node in graph.graph.nodes for one in (*node.args, *node.kwargs.values())
    )


@pytest.mark.parametrize("method", [pytest.param("cct", marks=pytest.mark.slow), "psmt"])
def test_nothing_is_compiled_after_the_first_step(graphs, method, tmp_path):
    settings = {"cct": {"name": "cct"}, "psmt": {"name": "psmt", "warmup_passes": 0}}[method]
    config = TrainConfig.model_validate({**TINY, "method": settings, "schedule": {"epochs": 1, "steps_per_epoch": 3}})
    run = Run(config, tmp_path)
    counts, step_means = [], StepMeans(run.process)
    for batch in run.loader.epoch(0):
        run.train_step(batch, step_means)
        counts.append(len(graphs))
    assert counts[0] > 0
    assert counts == [counts[0]] * 3


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["default", "cuda_graphs"])
def test_on_a_gpu_a_compiled_run_has_the_losses_of_a_plain_one(tmp_path, mode):
    for one in ("off", mode):
        fit(tiny(schedule=SCHEDULE, precision={"compile": one, "device": "cuda"}), tmp_path / one)
    losses = [rows(tmp_path / one)[0]["train/loss"] for one in ("off", mode)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)


@pytest.mark.gpu
def test_on_a_gpu_the_batches_are_those_of_the_cpu_a_batch_ahead_or_not():
    from trainers.data.loader import TrainLoader
    from trainers.data.open import open_data
    from trainers.interface.method import Needs

    config = tiny(schedule=SCHEDULE)
    data, needs = open_data(config.data, final=False), Needs(unlabelled=True, strong=2)
    here = TrainLoader(data, config, needs).epoch(0)
    there = TrainLoader(data, config, needs, device=torch.device("cuda")).epoch(0)
    for mine, other in zip(here, there, strict=True):
        for name in ("weak", "ignore"):
            torch.testing.assert_close(
                getattr(other.unlabelled.view, name).cpu(), getattr(mine.unlabelled.view, name), rtol=0, atol=1e-5
            )
        for one, two in zip(mine.unlabelled.view.strong, other.unlabelled.view.strong, strict=True):
            torch.testing.assert_close(two.cpu(), one, rtol=0, atol=2e-3)
