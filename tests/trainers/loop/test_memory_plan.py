"""`--dry-run=measure`: the largest batch from few measurements, and what is said of memory."""

import math
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainers.runs import tiny
from trainers.common.yaml_file import dump
from trainers.loop import memory_plan
from trainers.loop.largest_batch import extrapolated, fitting, largest_batch
from trainers.loop.memory_estimate import StepMemory
from trainers.loop.memory_plan import GIB, Place, measured_peak, memory_lines, this_place


@given(
    base=st.integers(0, 900), each=st.integers(1, 100), batch=st.integers(1, 20), step=st.integers(1, 4),
    most=st.integers(20, 400),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_the_largest_batch_of_a_straight_line_is_found_in_few_tries(base, each, batch, step, most):
    batch *= step
    asked = []

    def peak(size):
        asked.append(size)
        taken = base + each * size
        return None if taken > 1500 else taken  # more than the room ends in out of memory

    found = largest_batch(peak, batch=batch, step=step, most=most, room=1000, tries=12)
    fits = [size for size in range(step, most + 1, step) if base + each * size <= 1000]
    if fits and batch <= most:
        assert fitting(found) == fits[-1]
    assert len(asked) == len(set(asked)) == len(found) <= 12
    assert asked[0] == batch
    assert all(size % step == 0 for size in asked)


def test_no_more_is_measured_than_was_allowed():
    found = largest_batch(lambda size: size, batch=1, step=1, most=10**6, room=10**5, tries=3)
    assert len(found) == 3
    assert fitting(found) == max(found)


def test_a_batch_that_does_not_fit_is_halved():
    found = largest_batch(lambda size: None, batch=16, step=2, most=64, room=100, tries=9)
    assert list(found) == [16, 8, 4, 2]
    assert fitting(found) is None


def test_a_straight_line_is_drawn_on_to_the_end_of_the_room():
    assert extrapolated({4: 140, 8: 180}, step=2, most=100, room=1000) == 90
    assert extrapolated({4: 140, 8: 180}, step=2, most=30, room=1000) == 30
    assert extrapolated({4: 140}, step=2, most=30, room=1000) == 4


GPU = Place(room=10 * GIB, called="a Tesla T4")


def said(monkeypatch, *, per_image, place=GPU, world=1, **sections):
    config = tiny(**{"precision": {"device": "auto"}, "data": {"batch_size": 4}, **sections})
    monkeypatch.setattr(memory_plan, "step_memories", estimates)
    lists = SimpleNamespace(num_classes=4, labelled=range(100), unlabelled=range(200))

    def peak(one):
        taken = GIB + int(per_image * GIB) * one.data.batch_size
        return None if taken > 10 * GIB else taken

    return memory_lines(config, lists, place=place, world=world, peak=peak)


def estimates(asked):
    """Two GiB and one for each image of a part."""
    found = []
    for one in asked:
        images = one.config.data.batch_size // one.config.optim.accumulate
        found.append(StepMemory(weights=0, optimiser=0, step=(2 + images) * GIB, batch=0, buckets=0))
    return found


def test_peak_largest_batch_and_a_rate_for_it_are_said(monkeypatch):
    measured, largest, rate = said(monkeypatch, per_image=0.5, optim={"lr": 0.02})
    assert measured.startswith("measured: 3.0 GiB of 10 GiB of a Tesla T4")
    assert largest.startswith("largest data.batch_size: 18; tried, in GiB: 4 takes 3.0, 8 takes 5.0")
    assert "data.batch_size = 18 a common proposal is optim.lr = 0.09 in the place of 0.02" in rate
    assert rate.endswith("nothing is set")


def test_for_adamw_the_rate_goes_with_the_square_root(monkeypatch):
    *_, rate = said(monkeypatch, per_image=0.5, optim={"lr": 0.02, "name": "adamw"})
    assert f"optim.lr = {0.02 * math.sqrt(18 / 4):.3g} " in rate


def test_a_batch_that_does_not_fit_comes_with_what_to_change(monkeypatch):
    measured, largest, changes, rate = said(monkeypatch, per_image=3)
    assert measured == "measured: data.batch_size = 4 does not fit, of 10 GiB of a Tesla T4"
    assert largest.startswith("largest data.batch_size: 3; ")
    assert "as it is 7.6, optim.accumulate: 2 5.6, precision.amp: bf16 7.6" in changes
    assert "optim.lr" in rate


def test_the_batch_of_several_processes_is_measured_as_one_process_s_part(monkeypatch):
    lines = said(monkeypatch, per_image=0.5, world=2)
    assert lines[0].startswith("measured: 2.0 GiB")
    assert lines[1].startswith("largest data.batch_size: 36; ")


def test_without_a_gpu_it_is_said_that_its_memory_cannot_be_known(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    place = this_place(tiny(precision={"device": "auto"}))
    first, largest, changes, rate = said(monkeypatch, per_image=1, place=place)
    assert "cannot be known here" in first
    allowance = 1.5625  # of a GPU, for what is no tensor
    sizes = {card: math.floor(card - 2 - allowance) for card in (8, 12, 16, 24)}
    assert ", ".join(f"{size} with {card} GiB" for card, size in sizes.items()) in largest
    assert "optim.accumulate: 2" in changes
    assert rate.endswith("nothing is set")


def test_a_plan_of_several_processes_in_a_share_of_a_gpu_has_that_room(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "Tesla T4")
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: type("Card", (), {"total_memory": 16 * GIB})
    )
    assert this_place(tiny(precision={"device": "auto"}), share=0.5) == Place(room=8 * GIB, called="0.5 of Tesla T4")


@pytest.mark.slow
def test_what_a_short_training_takes_is_measured_in_a_process_of_its_own():
    small, large = (
        measured_peak(tiny(precision={"device": "cpu"}, data={"crop": 64, "batch_size": n})) for n in (2, 32)
    )
    assert 100 * 1024**2 < small < large


@pytest.mark.slow
def test_a_dry_run_of_a_training_says_its_memory_and_trains_nothing(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(dump(tiny(precision={"device": "cpu"})))
    command = [sys.executable, "-m", "trainers.train", str(file), "--run-dir", str(tmp_path / "run")]
    done = subprocess.run([*command, "--dry-run=measure"], capture_output=True, text=True, check=True)
    assert "memory: measured: " in done.stdout
    assert "of this machine's memory" in done.stdout
    assert not (tmp_path / "run").exists()
