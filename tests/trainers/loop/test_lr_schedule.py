"""Learning rates over the steps against PyTorch's schedulers, driven as their documentation drives them."""

import math

import pytest
import torch
from torch.optim import lr_scheduler

from tests.trainers.runs import rows, tiny
from trainers.config import ScheduleConfig
from trainers.dead_keys import dead_keys
from trainers.interface.epoch_record import Decision
from trainers.loop.fit import fit
from trainers.loop.lr_schedule import lr_factors, warmup_lines

TOTAL, WARM = 40, 8


def driven(make):
    """The rate at every step of a training by the scheduler that ``make`` gives for an optimiser."""
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    scheduler, found = make(optimizer), []
    for _ in range(TOTAL):
        found.append(optimizer.param_groups[0]["lr"] / 0.5)
        weight.grad = torch.ones(1)
        optimizer.step()
        scheduler.step()
    return found


def factors(**schedule):
    return list(lr_factors(ScheduleConfig(**schedule), steps_per_epoch=4, total=TOTAL))


def after_warmup(optimizer, then):
    warm = lr_scheduler.LinearLR(optimizer, start_factor=1 / WARM, total_iters=WARM)
    return lr_scheduler.SequentialLR(optimizer, [warm, then], [WARM])


REST = TOTAL - WARM
SCHEDULES = {
    "cosine": ({"lr": "cosine"}, lambda one: lr_scheduler.CosineAnnealingLR(one, TOTAL)),
    "constant": ({"lr": "constant"}, lambda one: lr_scheduler.ConstantLR(one, factor=1.0)),
    "poly": ({"lr": "poly", "poly_power": 0.9}, lambda one: lr_scheduler.PolynomialLR(one, TOTAL, power=0.9)),
    "cosine after a warm-up": (
        {"lr": "cosine", "lr_warmup_steps": WARM},
        lambda one: after_warmup(one, lr_scheduler.CosineAnnealingLR(one, REST)),
    ),
    "constant after a warm-up": (
        {"lr": "constant", "lr_warmup_steps": WARM},
        lambda one: after_warmup(one, lr_scheduler.ConstantLR(one, factor=1.0)),
    ),
    "poly after a warm-up": (
        {"lr_warmup_steps": WARM},
        lambda one: after_warmup(one, lr_scheduler.PolynomialLR(one, REST, power=0.9)),
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_rate_of_every_step_is_that_of_pytorchs_scheduler(name):
    schedule, make = SCHEDULES[name]
    assert factors(**schedule) == pytest.approx(driven(make), abs=1e-9)


def test_poly_without_a_warmup_is_bit_for_bit_its_formula():
    assert factors() == [(1 - step / TOTAL) ** 0.9 for step in range(TOTAL)]


def test_a_cosine_is_half_way_down_in_the_middle_and_falls_all_the_way():
    found = factors(lr="cosine")
    assert found[TOTAL // 2] == pytest.approx(0.5)
    assert found[-1] == pytest.approx((1 + math.cos(math.pi * (TOTAL - 1) / TOTAL)) / 2)


def test_a_warmup_in_epochs_is_as_long_as_the_same_in_steps():
    assert factors(lr="cosine", lr_warmup_epochs=2) == factors(lr="cosine", lr_warmup_steps=WARM)


def test_a_warmup_that_is_as_long_as_the_training_is_said_and_any_other_is_not():
    (said,) = warmup_lines(ScheduleConfig(lr_warmup_epochs=10), steps_per_epoch=4, total=TOTAL)
    assert "never reaches optim.lr; lower schedule.lr_warmup_epochs" in said
    assert factors(lr_warmup_epochs=10)[-1] == pytest.approx((1 + (TOTAL - 1) * (TOTAL - 1) / TOTAL) / TOTAL)
    assert warmup_lines(ScheduleConfig(lr_warmup_steps=39), steps_per_epoch=4, total=TOTAL) == []


def test_a_run_that_goes_on_has_the_rates_and_losses_of_one_that_was_never_interrupted(tmp_path):
    schedule = {"epochs": 4, "steps_per_epoch": 2, "lr": "cosine", "lr_warmup_epochs": 1.5}
    config = tiny(schedule=schedule)
    fit(config, tmp_path / "whole")
    fit(config, tmp_path / "parts", callbacks=[lambda one: Decision.STOP if one.epoch == 2 else Decision.CONTINUE])
    fit(config, tmp_path / "parts")
    whole, parts = (
        [(row["train/lr"], row["train/loss"]) for row in rows(tmp_path / one)] for one in ("whole", "parts")
    )
    assert whole == parts
    rates = [rate / config.optim.lr for rate, _ in whole]
    assert rates == pytest.approx(
        [list(lr_factors(config.schedule, steps_per_epoch=2, total=8))[i] for i in (1, 3, 5, 7)]
    )


def test_each_stage_of_a_method_warms_up_anew(tmp_path):
    config = tiny(
        method={"name": "st"},
        schedule={"epochs": 3, "steps_per_epoch": 2, "lr": "constant", "lr_warmup_steps": 2},
        data={"draw": {"labelled": 230}},
    )
    fit(config, tmp_path / "run")
    found = rows(tmp_path / "run")
    firsts = [
        row
        for before, row in zip([None, *found], found, strict=False)
        if before is None or before["train/stage"] != row["train/stage"]
    ]
    assert len(firsts) > 1
    assert [row["train/lr"] / config.optim.lr for row in firsts] == pytest.approx([0.75] * len(firsts))


@pytest.mark.parametrize(
    ("schedule", "dead", "other"),
    [
        ({"lr": "cosine"}, "poly_power", 0.3),
        ({"lr": "constant", "lr_warmup_steps": 3}, "poly_power", 0.3),
        ({"lr_warmup_epochs": 1}, "lr_warmup_steps", 5),
    ],
)
def test_a_dead_key_of_the_schedule_changes_no_rate(schedule, dead, other):
    assert f"schedule.{dead}" in dead_keys(tiny(schedule=schedule))
    assert factors(**schedule) == factors(**schedule, **{dead: other})
