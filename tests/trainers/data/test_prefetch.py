"""What a training step waits for, with stand-ins for CUDA's streams: a stream does its work in order, an event stands
for all that its stream was given before it."""

import contextlib

import pytest
import torch

from trainers.data import prefetch
from trainers.data.prefetch import copied_ahead
from trainers.interface.input_spec import RGB


class Stream:
    """Remembers what has to be done before its next piece of work."""

    def __init__(self):
        self.before = []

    def record_event(self):
        return tuple(self.before)

    def wait_event(self, event):
        self.before += event

    def wait_stream(self, other):
        self.before += other.before


@pytest.fixture
def cuda(monkeypatch):
    """The training stream, with the number of every batch whose views it has to wait for; side streams as made; the
    streams that each tensor's memory is kept for."""
    training, current, sides, kept = Stream(), [], [], {}

    @contextlib.contextmanager
    def on(stream):
        current.append(stream)
        yield
        current.pop()

    def side(device):
        sides.append(Stream())
        return sides[-1]

    def finish(batch, config, spec):
        current[-1].before.append(batch["number"])
        return batch

    monkeypatch.setattr(torch.cuda, "Stream", side)
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda *_: current[-1] if current else training)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda one, stream: kept.setdefault(id(one), []).append(stream))
    monkeypatch.setattr(prefetch, "finish", finish)
    prefetch._side_stream.cache_clear()
    yield training, sides, kept
    prefetch._side_stream.cache_clear()


def batches(count):
    return ({"number": n, "labelled": {"image": torch.full((2,), float(n))}} for n in range(count))


def taken(count):
    return copied_ahead(batches(count), None, torch.device("cpu"), RGB)


def test_a_step_waits_for_its_own_views_and_not_for_those_of_the_next_batch(cuda):
    training, _, _ = cuda
    for number, batch in enumerate(taken(4)):
        assert batch["number"] == number
        assert set(training.before) == set(range(number + 1))


def test_the_next_batch_is_queued_before_a_step_is_issued(cuda):
    _, sides, _ = cuda
    for number, _ in enumerate(taken(4)):
        assert sides[0].before == list(range(min(number + 2, 4)))


def test_the_memory_of_a_batch_is_kept_until_the_training_stream_is_done_with_it(cuda):
    training, _, kept = cuda
    for batch in taken(3):
        assert kept[id(batch["labelled"]["image"])] == [training]


def test_epochs_share_one_side_stream(cuda):
    _, sides, _ = cuda
    for _ in range(3):
        list(taken(2))
    assert len(sides) == 1


def test_a_user_s_mistake_passes_through_without_a_wait(cuda):
    training, _, _ = cuda
    error = {"error": ValueError("corrupt")}
    assert list(copied_ahead(iter([error]), None, torch.device("cpu"), RGB)) == [error]
    assert training.before == []


@pytest.mark.gpu
def test_on_a_gpu_a_step_ends_before_the_slow_views_of_the_next_batch(monkeypatch):
    slow = 2_000_000_000  # clock cycles: about a second
    device = torch.device("cuda", torch.cuda.current_device())

    def finish(batch, config, spec):
        if batch["number"] == 1:
            torch.cuda._sleep(slow)
        return batch

    monkeypatch.setattr(prefetch, "finish", finish)
    steps = copied_ahead(batches(2), None, device, RGB)
    done = torch.cuda.Event()
    next(steps)["labelled"]["image"].add_(1)
    done.record()
    done.synchronize()
    assert not prefetch._side_stream(device).query()
    assert next(steps)["labelled"]["image"].tolist() == [1.0, 1.0]
