import json
import subprocess
import sys

import pytest
import torch

from tests.trainers.runs import tiny
from trainers.loop import resource_meter
from trainers.loop.fit import fit

CPU = torch.device("cpu")


@pytest.fixture
def time(monkeypatch):
    """A clock that stands until it is moved."""
    now = [0.0]
    monkeypatch.setattr(resource_meter.time, "perf_counter", lambda: now[0])

    def move(seconds):
        now[0] += seconds

    return move


def test_a_step_takes_the_mean_of_all_steps_but_the_first(time):
    clock = resource_meter.StepClock(CPU)
    for seconds in (9.0, 0.1, 0.3):
        time(seconds)
        clock.step()
    assert clock.mean_ms() == pytest.approx(200)


def test_a_single_step_takes_what_it_took(time):
    clock = resource_meter.StepClock(CPU)
    time(0.5)
    clock.step()
    assert clock.mean_ms() == pytest.approx(500)


def test_an_evaluation_after_the_steps_is_in_no_steps_time(tmp_path, monkeypatch, time):
    from trainers.loop import epoch_scores
    from trainers.loop.run import Run

    train, score = Run.train_step, epoch_scores.evaluate

    def slow_step(self, batch, step_means):
        time(0.01)
        train(self, batch, step_means)

    def slow_evaluate(*args, **kwargs):
        time(100.0)
        return score(*args, **kwargs)

    monkeypatch.setattr(Run, "train_step", slow_step)
    monkeypatch.setattr(epoch_scores, "evaluate", slow_evaluate)
    records = fit(tiny(schedule={"epochs": 2}), tmp_path).records
    assert [record.metrics["time/step_ms"] for record in records] == [pytest.approx(10), pytest.approx(10)]


def in_a_new_process(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_processs_peak_is_what_it_held_at_once_and_stays_after_it_is_freed():
    code = (
        "import json, psutil, torch\nfrom trainers.loop.resource_meter import peak_mib\n"
        "cpu = torch.device('cpu')\nbefore = peak_mib(cpu)\n"
        "held = torch.ones(300 * 2**20, dtype=torch.uint8)\nresident = psutil.Process().memory_info().rss / 2**20\n"
        "del held\nprint(json.dumps([before, resident, peak_mib(cpu)]))\n"
    )
    before, resident, after = in_a_new_process(code)
    assert after >= resident - 1
    assert after - before == pytest.approx(300, abs=30)


def test_the_peak_of_a_resumed_run_is_no_smaller_than_before(tmp_path, monkeypatch):
    from trainers.interface.epoch_record import Decision
    from trainers.loop import epoch_scores

    config = tiny(schedule={"epochs": 2})
    monkeypatch.setattr(epoch_scores, "peak_mib", lambda device: 7000.0)
    fit(config, tmp_path, callbacks=[lambda record: Decision.STOP])
    monkeypatch.setattr(epoch_scores, "peak_mib", lambda device: 10.0)
    assert [record.metrics["memory/peak_mib"] for record in fit(config, tmp_path).records] == [7000.0, 7000.0]


@pytest.mark.gpu
def test_on_a_gpu_the_peak_is_that_of_the_tensors_since_it_was_last_forgotten():
    device = torch.device("cuda", torch.cuda.current_device())
    held = torch.empty(64 * 2**20, dtype=torch.uint8, device=device)
    del held
    resource_meter.forget_peak(device)
    start = resource_meter.peak_mib(device)
    held = torch.empty(16 * 2**20, dtype=torch.uint8, device=device)
    del held
    assert resource_meter.peak_mib(device) - start == pytest.approx(16, abs=2)


@pytest.mark.gpu
def test_on_a_gpu_a_step_counts_until_the_device_is_done():
    device = torch.device("cuda", torch.cuda.current_device())
    matrix = torch.rand(8192, 8192, device=device)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    clock = resource_meter.StepClock(device)
    clock.step()
    begin.record()
    for _ in range(20):
        matrix @ matrix
    end.record()
    clock.step()
    took = clock.mean_ms()
    assert took >= begin.elapsed_time(end)
