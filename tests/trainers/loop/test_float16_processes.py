"""float16 with loss scaling on two processes, rehearsed on CPUs: they leave out the same steps."""

import itertools

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tests.trainers.methods.test_every_method import config
from trainers.loop.run import Run
from trainers.loop.step_means import StepMeans

WORLD, STEPS = 2, 3
METHODS = ("unimatch", "cps")
"""With one network in DDP, and with a second one beside it."""


def work(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    try:
        for name in METHODS:
            torch.save(trained(name, folder, rank), folder / f"{name}, {rank}.pt")
    finally:
        dist.destroy_process_group()


def trained(name, folder, rank):
    """Weights before and after each step, and what is said of the scale; in the second step the gradient overflows on
    the second process alone."""
    schedule = {"epochs": 1, "steps_per_epoch": STEPS}
    run = Run(config(name, precision={"amp": "fp16"}, data={"batch_size": 4}, schedule=schedule), folder)
    total = run._total

    def overflowing(output, step_means):
        loss = total(output, step_means)
        return loss * 1e38 if (rank, run.step) == (1, 1) else loss

    run._total = overflowing
    found = [weights_of(run)]
    for batch in run.loader.epoch(0):
        run.train_step(batch, StepMeans(run.process))
        found.append(weights_of(run))
    said = run.networks.scaling.of_epoch()
    run.close()
    return found, said


def weights_of(run):
    return {
        f"{part}.{name}": weight.detach().clone()
        for part, one in run.networks.trained.items()
        for name, weight in one.module.named_parameters()
    }


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    folder = tmp_path_factory.mktemp("float16")
    mp.spawn(work, args=(folder,), nprocs=WORLD)
    return {name: [torch.load(folder / f"{name}, {rank}.pt") for rank in range(WORLD)] for name in METHODS}


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_gradient_that_overflows_on_one_process_skips_the_step_on_all(name, held):
    (first, said), (second, also) = held[name]
    assert said == also
    skipped = said["train/skipped_steps"]  # the first scale may be too large for a step of both processes, too
    assert said["train/loss_scale"] == 2.0 ** (16 - skipped)
    for before, after in zip(first, second, strict=True):
        assert all(torch.equal(before[key], after[key]) for key in before)
    moved = [any(not torch.equal(one[key], other[key]) for key in one) for one, other in itertools.pairwise(first)]
    assert not moved[1]
    assert sum(moved) == STEPS - skipped >= 1
