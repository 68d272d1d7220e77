"""float16 with loss scaling, rehearsed on a CPU; and what is said of a device's types."""

import math

import pytest
import torch
from torch import nn

from benchmarks.helpers.method_settings import ALL_ON
from tests.trainers.methods.test_every_method import config
from tests.trainers.runs import rows, same_tensors, tensors, tiny
from trainers.common.errors import TrainingError
from trainers.config import PrecisionConfig
from trainers.interface.epoch_record import Decision
from trainers.loop.fit import fit
from trainers.loop.precision import LossScaling, autocast, precision_lines
from trainers.loop.run import Run

CPU = torch.device("cpu")
QUICK = ("unimatch", "cct", "u2pl")
"""Of the methods: with one network, with noise by gradients, and with a head that has no gradients at first."""


def weighted(slope=1.0):
    """A weight of 1, its optimiser at rate 1, and this gradient."""
    module = nn.Linear(1, 1, bias=False)
    nn.init.ones_(module.weight)
    return module, torch.optim.SGD(module.parameters(), lr=1.0, fused=True), slope


def stepped(scaling, module, optimizer, slope, clip_norm=None):
    optimizer.zero_grad(set_to_none=True)
    scaling.backward((module.weight * slope).sum())
    scaling.step(module, optimizer, clip_norm=clip_norm)
    scaling.update()
    return float(module.weight.detach())


@pytest.mark.parametrize("clip_norm", [None, 0.25])
def test_a_step_with_a_scale_is_the_step_without_one(clip_norm):
    plain, scaled = (stepped(LossScaling(amp, CPU), *weighted(0.5), clip_norm=clip_norm) for amp in ("off", "fp16"))
    assert plain == scaled == pytest.approx(1 - (clip_norm or 0.5), abs=1e-5)


def test_a_step_whose_gradient_overflows_is_left_out_and_halves_the_scale():
    scaling, (module, optimizer, _) = LossScaling("fp16", CPU), weighted()
    assert stepped(scaling, module, optimizer, math.inf) == 1.0
    assert scaling.of_epoch() == {"train/skipped_steps": 1.0, "train/loss_scale": 2.0**15}
    assert stepped(scaling, module, optimizer, 0.5) == 0.5
    assert scaling.of_epoch() == {"train/skipped_steps": 0.0, "train/loss_scale": 2.0**15}


def test_gradients_that_are_not_finite_at_any_scale_end_the_run_with_the_reason():
    scaling, (module, optimizer, _) = LossScaling("fp16", CPU), weighted()
    for _ in range(27):
        stepped(scaling, module, optimizer, math.nan)
    with pytest.raises(TrainingError, match="at every loss scale"):
        scaling.of_epoch()


def test_an_optimiser_without_any_gradient_is_passed_over():
    scaling, (module, optimizer, slope), (idle, its, _) = LossScaling("fp16", CPU), weighted(), weighted()
    scaling.backward((module.weight * slope).sum())
    scaling.step(module, optimizer, clip_norm=None)
    scaling.step(idle, its, clip_norm=None)
    scaling.update()
    assert float(idle.weight.detach()) == 1.0


def test_without_float16_nothing_is_scaled_or_logged():
    scaling = LossScaling("bf16", CPU)
    assert (scaling.of_epoch(), scaling.state_dict()) == ({}, {})


@pytest.mark.parametrize(("amp", "kind"), [("fp16", torch.float16), ("bf16", torch.bfloat16), ("off", torch.float32)])
def test_forward_passes_compute_in_the_type_that_was_asked_for(amp, kind):
    with autocast("cpu", amp):
        assert nn.Conv2d(1, 1, 1)(torch.ones(1, 1, 2, 2)).dtype == kind


@pytest.mark.parametrize("name", [pytest.param(one, marks=[pytest.mark.slow] * (one not in QUICK)) for one in ALL_ON])
def test_float16_trains_to_finite_losses(name, tmp_path):
    fit(config(name, precision={"amp": "fp16"}, schedule={"epochs": 1, "steps_per_epoch": 2}), tmp_path)
    (row, *_) = rows(tmp_path)
    assert all(math.isfinite(value) for value in row.values() if isinstance(value, float))
    assert row["train/loss_scale"] == 2.0 ** (16 - row["train/skipped_steps"])


def test_a_run_in_float16_goes_on_bit_for_bit_with_its_scale(tmp_path, monkeypatch):
    made = tiny(precision={"amp": "fp16"}, schedule={"epochs": 2})
    before = Run.train_step

    def overflowing(run, batch, step_means):
        """In the first step a loss so large that its gradient overflows."""
        if run.step == 0:
            run.networks.scaling.scaler.load_state_dict({**run.networks.scaling.state_dict(), "scale": 2.0**120})
        before(run, batch, step_means)

    monkeypatch.setattr(Run, "train_step", overflowing)
    fit(made, tmp_path / "unbroken")
    fit(made, tmp_path / "stopped", callbacks=[lambda one: Decision.STOP])
    fit(made, tmp_path / "stopped")
    found = rows(tmp_path / "unbroken")
    assert rows(tmp_path / "stopped") == found
    assert same_tensors(tensors(tmp_path / "stopped"), tensors(tmp_path / "unbroken"))
    assert found[0]["train/skipped_steps"] >= 1
    assert found[1]["train/loss_scale"] < 2.0**120


def on_a_gpu(monkeypatch, *, native):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    return torch.device("cuda:0")


def test_bfloat16_on_a_gpu_without_it_is_said_with_what_to_take(monkeypatch):
    device = on_a_gpu(monkeypatch, native=False)
    (said,) = precision_lines(PrecisionConfig(amp="bf16"), device)
    assert said.startswith("warning: Tesla T4 has no bfloat16")
    assert "set precision.amp: fp16" in said
    assert precision_lines(PrecisionConfig(amp="fp16"), device) == []


def test_float16_where_bfloat16_is_there_or_on_a_cpu_is_said(monkeypatch):
    assert "bf16 is as fast" in precision_lines(PrecisionConfig(amp="fp16"), on_a_gpu(monkeypatch, native=True))[0]
    assert "a rehearsal" in precision_lines(PrecisionConfig(amp="fp16"), CPU)[0]
    assert precision_lines(PrecisionConfig(amp="bf16"), CPU) == []
