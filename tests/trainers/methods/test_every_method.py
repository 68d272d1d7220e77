"""What holds for every method: exact resume, two processes as one, bfloat16, alpha = 0."""

import dataclasses
import math
from typing import get_args

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from benchmarks.helpers.method_settings import ALL_ON, SETTINGS, section, stages
from tests.trainers.runs import in_double, in_float64, rows, same_tensors, tensors, tiny
from trainers.interface.epoch_record import Decision
from trainers.interface.labels import IGNORE
from trainers.loop.fit import fit
from trainers.loop.run import Run
from trainers.loop.step_means import StepMeans
from trainers.methods.registry import BUILDERS, MethodConfig

WORLD = 2
KINDS = {
    *("supervised", "unimatch", "unimatch_v2", "cps+cutmix", "cct", "gct", "ucc", "ael", "u2pl", "alonso", "psmt"),
    *("stpp", "dmt", "cac", "dsbn", "ecs", "pseudoseg", "s4gan+mlmt"),
}
"""One method at least of each kind of state: averages, banks, counts, discriminators, second networks, stages."""


def quick_ones(names, quick=KINDS):
    """All of them as parameters of a test, those that are not quick marked as slow."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


LATER = {"st", "dstcbc", "dsbn", "dmt", "naive_student", "noisy_student"}
"""Methods whose last stage is compared over processes; the first is supervised training."""
SHORT = {"epochs": 2, "steps_per_epoch": 2}


def config(name, *, alpha=1.0, method=None, **sections):
    made = tiny(interpixel={"alpha": alpha, "tau": 0.05, "warmup_fraction": 0}, **{"schedule": SHORT, **sections})
    data = made.model_dump(mode="json") | {"method": {**section(name), **(method or {})}}
    count = stages(section(name))
    if count > 1:
        data["data"]["draw"] = {"labelled": 220}  # leaves few unlabelled images, of which each stage looks at all
    data["schedule"]["epochs"] = max(data["schedule"]["epochs"], count)
    return type(made).model_validate(data)


def test_every_method_of_the_registry_is_tested_here():
    registered = {one.model_fields["name"].annotation.__args__[0] for one in get_args(get_args(MethodConfig)[0])}
    assert set(SETTINGS) == registered == set(BUILDERS)


@pytest.mark.parametrize("name", quick_ones(ALL_ON))
def test_a_run_that_was_stopped_goes_on_bit_for_bit(name, tmp_path):
    fit(config(name), tmp_path / "unbroken")
    fit(config(name), tmp_path / "stopped", callbacks=[lambda one: Decision.STOP])
    assert len(rows(tmp_path / "stopped")) == 1
    fit(config(name), tmp_path / "stopped")
    assert rows(tmp_path / "stopped") == rows(tmp_path / "unbroken")
    assert same_tensors(tensors(tmp_path / "stopped"), tensors(tmp_path / "unbroken"))
    assert rows(tmp_path / "unbroken")[-1]["train/loss/interpixel"] > 0


def test_so_does_unimatch_v2_with_its_own_network(tmp_path):
    made = config("unimatch_v2", model={"name": "dinov2_dpt", "size": "tiny"}, data={"crop": 28})
    fit(made, tmp_path / "unbroken")
    fit(made, tmp_path / "stopped", callbacks=[lambda one: Decision.STOP])
    fit(made, tmp_path / "stopped")
    assert rows(tmp_path / "stopped") == rows(tmp_path / "unbroken")
    assert same_tensors(tensors(tmp_path / "stopped"), tensors(tmp_path / "unbroken"))
    assert "method.teacher.backbone.pos_embed" in tensors(tmp_path / "stopped")


@pytest.mark.parametrize("name", quick_ones(ALL_ON, {"unimatch", "gct", "psmt"}))
def test_bf16_trains_to_finite_losses(name, tmp_path):
    fit(config(name, precision={"amp": "bf16"}, schedule={"epochs": 1, "steps_per_epoch": 2}), tmp_path)
    assert all(math.isfinite(value) for value in rows(tmp_path)[0].values() if isinstance(value, float))


@pytest.fixture
def one_thread():
    """As in each of the two processes. Over several threads sums are rounded otherwise, and from the last stage on,
    maps here being so small, one ReLU gate that this turns is some percent of a gradient (measured: 1e-6 in the
    decoder, up to 0.06 in the backbone, in one process with 1 and with 2 threads)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def last_step(run):
    """Of a method's last stage, with drawn pseudo-masks: a network's own differ by rounding."""
    stage = len(run.stages) - 1
    run.method.begin(stage, lambda places: iter(()))
    batch = in_double(next(iter(run._loader_of(run.stages[stage].needs, None).epoch(0))))
    unlabelled, mine = batch.unlabelled, []
    count, planes = len(unlabelled.view.weak), run.stages[stage].needs.pseudo_planes
    for plane in range(planes):  # a class, and where there are more planes a confidence or a probability behind each
        generator, most = torch.Generator().manual_seed(3 + plane), 256 if plane % 2 else 11
        drawn = torch.randint(0, most, (WORLD * count, 32, 32), generator=generator)[run.process.rank * count :][:count]
        mine.append(drawn.masked_fill(unlabelled.view.ignore == IGNORE, IGNORE))
    pseudo = mine[0] if planes == 1 else torch.stack(mine, dim=1)
    batch = dataclasses.replace(batch, unlabelled=dataclasses.replace(unlabelled, pseudo=pseudo))
    step = run._step(batch)
    return dataclasses.replace(step, progress=dataclasses.replace(step.progress, stage=stage))


def gradients(name, folder):
    """Of one step with four images, over all networks, where there is one; averaged over processes where there are
    several. In float64: in float32 a threshold that a rounding turns is some percent of a gradient."""
    with in_float64():
        run = Run(config(name, data={"batch_size": 4}), folder)
    output = run.method.losses(
        last_step(run) if name in LATER else run._step(in_double(next(iter(run.loader.epoch(0)))))
    )
    run._total(output, StepMeans(run.process)).backward()
    run.networks.average_companions()
    return {
        f"{part}.{key}": parameter.grad.clone()
        for part, one in run.networks.trained.items()
        for key, parameter in one.module.named_parameters()
        if parameter.grad is not None
    }


def work(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    try:
        found = {name: gradients(name, folder) for name in ALL_ON}
        if rank == 0:
            torch.save(found, folder / "two.pt")
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Gradients of two processes by method; started once, since that is what takes the time."""
    folder = tmp_path_factory.mktemp("two")
    mp.spawn(work, args=(folder,), nprocs=WORLD)
    return torch.load(folder / "two.pt")


@pytest.mark.parametrize("name", ALL_ON)
def test_two_processes_give_the_gradients_of_one_with_the_same_global_batch(name, two, tmp_path, one_thread):
    one = gradients(name, tmp_path)
    assert one.keys() == two[name].keys()
    parts = {key.partition(".")[0] for key in one}
    for part in parts:
        flat_one, flat_two = (
            torch.cat([found[key].flatten() for key in one if key.startswith(f"{part}.")]) for found in (one, two[name])
        )
        assert float(flat_one.norm()) > 0
        assert float((flat_one - flat_two).norm() / flat_one.norm()) < 1e-7, part
