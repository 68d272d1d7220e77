"""A step computed in parts."""

import pytest
import torch

from tests.trainers.runs import rows, same_tensors, tensors, tiny
from trainers.common.errors import ConfigError, OutOfMemory
from trainers.interface.epoch_record import Decision
from trainers.loop.fit import fit
from trainers.loop.run import Run
from trainers.loop.step_means import StepMeans

SCHEDULE = {"epochs": 2, "steps_per_epoch": 2}


def config_of(parts, batch_size=4):
    return tiny(data={"batch_size": batch_size}, optim={"accumulate": parts}, schedule=SCHEDULE)


def first_batch(run):
    return next(iter(run.loader.epoch(0)))


def test_parts_in_a_row_are_the_batch(tmp_path):
    batch = first_batch(Run(config_of(1), tmp_path))
    parts = list(batch.parts(2))
    assert torch.equal(torch.cat([part.labelled.mask for part in parts]), batch.labelled.mask)
    for stream in range(2):
        strong = [part.unlabelled.view.strong[stream] for part in parts]
        assert torch.equal(torch.cat(strong), batch.unlabelled.view.strong[stream])
    assert len({part.seed for part in parts}) == 2


def test_one_part_is_the_batch_itself(tmp_path):
    batch = first_batch(Run(config_of(1), tmp_path))
    (part,) = batch.parts(1)
    assert part.seed == batch.seed
    assert torch.equal(part.labelled.image, batch.labelled.image)


def test_the_gradient_is_the_mean_of_the_parts_gradients(tmp_path):
    split, reference = Run(config_of(2), tmp_path / "split"), Run(config_of(1), tmp_path / "reference")
    batch = first_batch(split)
    split.train_step(batch, StepMeans(split.process))
    for part in batch.parts(2):
        output = reference.method.losses(reference._step(part))
        (sum(output.weights[name] * term for name, term in output.terms.items()) / 2).backward()
    for ours, expected in zip(split.student.parameters(), reference.student.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, expected.grad, rtol=1e-5, atol=1e-7)


def test_a_run_in_parts_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path):
    fit(config_of(2), tmp_path / "unbroken")
    fit(config_of(2), tmp_path / "broken", callbacks=[lambda record: Decision.STOP])
    fit(config_of(2), tmp_path / "broken")
    assert rows(tmp_path / "broken") == rows(tmp_path / "unbroken")
    assert same_tensors(tensors(tmp_path / "broken"), tensors(tmp_path / "unbroken"))


def test_parts_of_unequal_size_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"optim.accumulate: 3 equal parts cannot be made of 4 images"):
        Run(config_of(3), tmp_path)


def test_a_step_that_does_not_fit_into_memory_says_what_would(tmp_path, monkeypatch):
    def too_large(run, batch, step_means):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    monkeypatch.setattr(Run, "train_step", too_large)
    with pytest.raises(OutOfMemory, match=r"step 0 \(epoch 1\): CUDA out of memory.*2.00 GiB. Lower data.batch_size"):
        fit(config_of(1), tmp_path)


@pytest.mark.gpu
def test_a_step_in_parts_takes_less_of_a_gpus_memory(tmp_path):
    peaks = []
    for parts in (1, 8):
        torch.cuda.reset_peak_memory_stats()
        sections = {"precision": {"device": "cuda"}, "data": {"batch_size": 8, "crop": 64}}
        fit(tiny(optim={"accumulate": parts}, schedule=SCHEDULE, **sections), tmp_path / str(parts))
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] < peaks[0]
