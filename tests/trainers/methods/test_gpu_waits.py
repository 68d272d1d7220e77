"""What a GPU would be asked, on tensors that only say they are on one: as many host waits as the documentation gives,
and the values of the CPU where a GPU goes another way."""

import re
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules._functions import SyncBatchNorm

from benchmarks.gpu_counts import counted
from benchmarks.helpers.fake_cuda import fake_cuda
from benchmarks.helpers.method_settings import SETTINGS
from benchmarks.process_counts import on_processes, read
from trainers.common.transfer import HostRead, to_device
from trainers.config import ModelConfig
from trainers.data.strong import _banded, _compared
from trainers.interface.labels import IGNORE
from trainers.losses.functional import pixel_nll, with_class
from trainers.methods.registry import BUILDERS
from trainers.models.build import build_model

QUICK = {"unimatch", "u2pl"}
"""The plainest, and the one that once waited most."""


def documented():
    """Host waits a step by `method.name`, from the table of methods."""
    page = Path(__file__).parents[3] / "docs" / "reference" / "methods.md"
    rows = [line.strip("|\n ").split("|") for line in page.read_text().splitlines() if line.startswith("| ")]
    named = [(re.fullmatch(r"`(\w+)`", row[1].strip()), row[-1].strip()) for row in rows if len(row) > 2]
    return {name[1]: int(waits) for name, waits in named if name and waits.isdigit()}


def test_every_method_has_its_host_waits_in_the_documentation():
    assert documented().keys() == SETTINGS.keys() == BUILDERS.keys()
    assert max(documented().values()) <= 2


@pytest.mark.parametrize(
    "method", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SETTINGS]
)
def test_a_step_waits_as_often_as_documented(method):
    found = counted(method, crop=33, batch=2)
    assert found.operators > 100
    assert found.waits.total() == documented()[method], found.waits


def test_the_counter_sees_every_kind_of_wait():
    with fake_cuda() as count:
        values = torch.arange(6.0, device="cuda")
        count.counting = True
        asked = {
            "a number": lambda: float(values[0]),
            "a list": values.tolist,
            "a mask": lambda: values[values > 2],
            "a copy from the host": lambda: torch.tensor([1.0, 2.0], device="cuda"),
            "a copy to the host": values.cpu,
            "a size": values.unique,
        }
        for name, ask in asked.items():
            count.clear()
            ask()
            assert count.waits.total() == 1, name
        count.clear()
        to_device(torch.ones(3), values.device) + torch.full((), 2.0, device="cuda")
        reading = HostRead(values)
        assert count.waits.total() == 0
        assert reading()[0].tolist() == [0, 1, 2, 3, 4, 5]
        assert count.waits.total() == 1


@pytest.fixture(scope="module")
def supervised_on_two(tmp_path_factory):
    """Of a step with the small network on two processes, by `optim.batch_norm`."""
    rows = tmp_path_factory.mktemp("counts") / "rows.jsonl"
    on_processes([("supervised", "global"), ("supervised", "device")], rows, crop=33, batch=4)
    return {over: one for (_, over), one in read(rows).items()}


@pytest.mark.slow
def test_a_batch_norm_layer_over_two_gpus_exchanges_twice_and_waits_three_times(supervised_on_two):
    network = build_model(ModelConfig(backbone="small", weights="none"), num_classes=11, seed=0)
    layers = sum(isinstance(one, nn.BatchNorm2d) for one in network.modules())
    both, alone = supervised_on_two["global"], supervised_on_two["device"]
    assert both["exchanges"] - alone["exchanges"] == 2 * layers
    assert both["waits"] - alone["waits"] == 3 * layers
    assert alone["waits"] == 0


def test_the_fake_kernels_of_batch_norm_over_processes_are_batch_norm(tmp_path):
    generator = torch.Generator().manual_seed(2)
    features, slope = torch.randn(2, 4, 3, 5, 6, generator=generator).unbind()
    ours, theirs = nn.SyncBatchNorm(3), nn.BatchNorm2d(3)
    inputs = [features.clone().requires_grad_() for _ in range(2)]
    expected = theirs(inputs[0])
    expected.backward(slope)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        with fake_cuda():
            norm = ours.to("cuda")
            moments = (norm.running_mean, norm.running_var, norm.eps, norm.momentum, dist.group.WORLD, 1)
            found = SyncBatchNorm.apply(inputs[1].to("cuda"), norm.weight, norm.bias, *moments)
            found.backward(slope.to("cuda"))
            there = [found.detach(), norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]
            there = [one.cpu() for one in there]
    finally:
        dist.destroy_process_group()
    here = [expected, theirs.weight.grad, theirs.bias.grad, theirs.running_mean, theirs.running_var]
    for mine, reference in zip([*there, inputs[1].grad], [*here, inputs[0].grad], strict=True):
        torch.testing.assert_close(mine, reference.detach())


@pytest.mark.parametrize("length", [5, 12, 33])
@pytest.mark.parametrize("reach", [1, 2, 4])
def test_the_blur_of_a_gpu_has_the_numbers_of_the_scatter(length, reach):
    weights = torch.rand(3, 2 * reach + 1, generator=torch.Generator().manual_seed(length))
    assert torch.equal(_compared(weights, length), _banded(weights, length, torch.arange(-reach, reach + 1)))


def test_the_gradient_of_a_gpu_s_cross_entropy_has_the_bits_of_the_cpu_s():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(2, 5, 7, 6, generator=generator), torch.randint(0, 5, (2, 7, 6), generator=generator)
    labels[0, :2] = IGNORE
    here = logits.clone().requires_grad_()
    pixel_nll(here, labels).square().sum().backward()
    with fake_cuda():
        there = logits.to("cuda").requires_grad_()
        pixel_nll(there, labels.to("cuda")).square().sum().backward()
        assert torch.equal(there.grad.cpu(), here.grad)


def test_a_gpu_puts_values_at_a_class_as_a_cpu_does():
    generator = torch.Generator().manual_seed(1)
    maps, values = torch.rand(2, 4, 3, 5, generator=generator), torch.rand(2, 1, 3, 5, generator=generator)
    label = torch.randint(0, 4, (2, 1, 3, 5), generator=generator)
    with fake_cuda():
        there = with_class(*(one.to("cuda") for one in (maps, label, values))).cpu()
    assert torch.equal(there, with_class(maps.clone(), label, values))
