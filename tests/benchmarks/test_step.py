"""The step benchmark: what it counts, what it times, and that its plain forms compute the same."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.helpers import step_plain, step_tables
from benchmarks.helpers.step_parts import Parts
from benchmarks.helpers.step_roofline import Counted, Rates
from benchmarks.helpers.step_turns import Side
from trainers.losses.functional import pixel_nll
from trainers.losses.pixel_softmax import PixelKl
from trainers.models.build import build_model
from trainers.models.model_config import ModelConfig


def test_operations_are_those_that_pytorchs_own_counter_finds():
    model = build_model(ModelConfig(backbone="small", weights="none"), num_classes=5, seed=0)
    images = torch.randn(2, 3, 32, 32)
    with FlopCounterMode(display=False) as expected:
        model(images).sum().backward()
    with Counted() as counted:
        model(images).sum().backward()
    assert counted.flops == expected.get_total_flops() > 0


def test_bytes_are_what_is_read_and_written_and_views_are_free():
    values = torch.zeros(10)
    with Counted(Rates(flops=1.0, bytes=10.0)) as counted:
        values.view(2, 5)
        values.add(1)
    assert counted.bytes == 80
    assert counted.seconds == pytest.approx(8)


def test_a_part_inside_another_counts_in_the_inner_one_only(monkeypatch):
    clock = iter([0.0, 1.0, 5.0, 7.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    parts = Parts("cpu")
    with parts.part("losses"), parts.part("forward"):
        pass
    assert parts.seconds == {"forward": 4.0, "losses": 3.0}


def test_the_plain_losses_are_the_trainers():
    generator = torch.Generator().manual_seed(0)
    teacher, student = torch.randn(2, 2, 3, 50, generator=generator)
    omega = torch.rand(2, 50, generator=generator) < 0.7
    for domain in (omega, torch.ones_like(omega)):
        ours = PixelKl.apply(student, teacher, omega, domain, 4.0)
        torch.testing.assert_close(ours, step_plain.plain_kl(student, teacher, omega, domain, 4.0))
    labels = torch.randint(0, 3, (2, 50), generator=generator)
    labels[0, :5] = 255
    torch.testing.assert_close(pixel_nll(student, labels), step_plain.plain_nll(student, labels))


def test_a_ratio_is_of_medians_over_all_turns(tmp_path):
    side = vars(Side(kind="ours", data="", crop=64, batch=4, backbone="small"))
    rows = tmp_path / "rows.jsonl"
    for name, seconds in (("ours", [1.0, 1.0, 9.0]), ("unimatch", [2.0, 2.0, 2.0])):
        row = {"name": name, "begun": 0.0, "side": side, "seconds": seconds, "cpu_seconds": 3.0, "memory_mib": 1.0}
        with rows.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
    table = step_tables.render(step_tables.read(rows))
    assert "| unimatch | 1 | 2.000 (2.000 to 2.000) | 4.00 | 2.00 | 1.000 | 1.00 | 1 |" in table


def test_a_switch_is_compared_with_what_ran_beside_it():
    side = vars(Side(kind="ours", data="", crop=64, batch=4, backbone="small"))
    turns = (
        (0.0, 0, "all on", 1.0),
        (0.0, 0, "without labels once", 2.0),
        (0.0, 1, "without labels once", 3.0),
        (0.0, 1, "all on", 1.0),
        (1.0, 0, "all on", 10.0),
        (1.0, 0, "without decode once", 11.0),
    )
    table = step_tables.render(
        [
            {"begun": begun, "round": number, "name": name, "side": side, "seconds": [seconds], "cpu_seconds": seconds,
             "memory_mib": 1.0}
            for begun, number, name, seconds in turns
        ]
    )  # fmt: skip
    assert "| without labels once | 2.50 (2.00 to 3.00) | 2.50 (2.00 to 3.00) | 1 |" in table
    assert "| without decode once | 1.10 (1.10 to 1.10) | 1.10 (1.10 to 1.10) | 1 |" in table


def test_steps_with_and_without_the_inter_pixel_loss_are_in_tables_of_their_own():
    rows = [
        {
            "begun": float(interpixel),
            "round": 0,
            "name": "parts",
            "side": vars(Side(kind="ours", data="", crop=64, batch=4, backbone="small", interpixel=interpixel)),
            "seconds": [1.0],
            "parts": {"forward": 0.5, "other": 0.5},
        }
        for interpixel in (False, True)
    ]
    table = step_tables.render(rows)
    assert table.count("### Parts: ") == 2
    assert table.count("| forward | 0.5000 | 50.0 % |") == 2
