"""A method of several stages in the real loop: resume in every stage, schedules of their own, two processes as one."""

import shutil

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tests.trainers.runs import rows, same_tensors, tensors, tiny
from trainers.common.errors import ConfigError
from trainers.config import TrainConfig
from trainers.data.read import mask_from_png
from trainers.interface.epoch_record import Decision
from trainers.loop.fit import fit
from trainers.loop.run import Run
from trainers.loop.stages import shortest
from trainers.methods.labelling import masks_from_tensors

WORLD, EPOCHS = 2, 4


def config(**sections):
    made = tiny(
        **{
            "data": {"draw": {"labelled": 224}, "batch_size": 4},
            "schedule": {"epochs": EPOCHS, "steps_per_epoch": 2},
            "interpixel": {"alpha": 1.0, "tau": 0.05, "warmup_fraction": 0},
            **sections,
        }
    )
    data = made.model_dump(mode="json") | {"method": {"name": "stpp", "scales": [1.0], "snapshots": 2}}
    return type(made).model_validate(data)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    fit(config(), folder)
    return folder


def masks(folder):
    state = tensors(folder)
    prefix = "method.masks."
    return masks_from_tensors({name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)})


def test_a_run_that_is_stopped_after_every_epoch_is_the_unbroken_one_bit_for_bit(unbroken, tmp_path):
    for last in range(1, EPOCHS + 1):
        fit(
            config(),
            tmp_path,
            callbacks=[lambda one, last=last: Decision.STOP if one.epoch == last else Decision.CONTINUE],
        )
    assert rows(tmp_path) == rows(unbroken)
    assert same_tensors(tensors(tmp_path), tensors(unbroken))


def test_every_stage_has_the_schedule_of_a_training_of_its_own(unbroken):
    found = rows(unbroken)
    assert [row["train/stage"] for row in found] == [0, 1, 1, 2]
    # The learning rate of an epoch's last step, of 2 steps in all, of 4, and of 2.
    expected = [0.05 * (1 - done / total) ** 0.9 for done, total in ((1, 2), (1, 4), (3, 4), (1, 2))]
    assert [row["train/lr"] for row in found] == pytest.approx(expected)
    assert ["train/loss/interpixel" in row for row in found] == [False, True, True, True]


def test_stages_of_published_length_have_the_steps_and_the_schedule_of_their_own_lists(tmp_path):
    made = config(schedule={"epochs": 3, "steps_per_epoch": None}).model_dump(mode="json")
    made["method"] |= {"stage_length": "passes"}
    made["data"] |= {"draw": {"labelled": 202, "seed": 0}}
    run = Run(TrainConfig.model_validate(made), tmp_path)
    labelled, unlabelled = len(run.data.labelled), len(run.data.unlabelled)
    assert (labelled, unlabelled) == (202, 34)
    fit(run.config, tmp_path)
    found = rows(tmp_path)
    steps = [202 // 8, (17 + 202) // 8, (34 + 202) // 8]
    assert [row["step"] for row in found] == [sum(steps[: stage + 1]) for stage in range(3)]
    assert run.total_steps == sum(steps)
    assert [row["train/lr"] for row in found] == pytest.approx([0.05 * (1 / total) ** 0.9 for total in steps])


def test_the_last_stage_has_a_mask_for_every_unlabelled_image(unbroken, tmp_path):
    run = Run(config(), tmp_path)
    assert sorted(masks(unbroken)) == list(range(len(run.data.unlabelled)))


def test_a_stage_begins_with_fresh_weights(tmp_path):
    run = Run(config(), tmp_path)
    run.train_epoch(0, None)
    before = run.student.classify.weight.clone()
    optimizer = run.networks.optimizers["student"]
    run._reach(1)
    assert not torch.equal(run.student.classify.weight, before)
    assert run.networks.optimizers["student"] is not optimizer
    assert len(run.method.pseudo_masks()) == round(len(run.data.unlabelled) / 2)
    batch = next(iter(run.loader.epoch(1)))
    assert batch.unlabelled.pseudo.shape == batch.unlabelled.view.ignore.shape
    assert bool((batch.unlabelled.pseudo[batch.unlabelled.view.ignore == 255] == 255).all())


def test_a_training_too_short_for_its_stages_is_refused_before_it_starts(tmp_path):
    with pytest.raises(ConfigError, match="fewer than the 3 stages"):
        fit(config(schedule={"epochs": 2}), tmp_path)


def work(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    try:
        fit(config(), folder / "run")
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_store_the_masks_of_one(unbroken, tmp_path):
    mp.spawn(work, args=(tmp_path,), nprocs=WORLD)
    one, two = masks(unbroken), masks(tmp_path / "run")
    assert one.keys() == two.keys()
    same = torch.cat([(mask_from_png(one[place]) == mask_from_png(two[place])).flatten() for place in one])
    # Sums over processes round otherwise, which moves a pixel where two classes are as likely.
    assert float(same.double().mean()) > 0.99
    shutil.rmtree(tmp_path)


def test_a_short_training_goes_through_every_stage():
    long = config().model_dump(mode="json") | {"method": {"name": "st", "retrainings": 5}}
    assert shortest(TrainConfig.model_validate(long)) == 6
    assert shortest(config()) == 3
