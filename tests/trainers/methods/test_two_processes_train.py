"""Two processes train as one does: weights, teachers, buffers, banks and optimiser states after several steps.

In float64, so that all that is left of a difference is an error: in float32 sums in another order turn ReLU gates and
thresholds after a step or two, and Adam's first step is the sign of a gradient, also where that is 0 but for rounding
(a bias before batch norm).

    python -m tests.trainers.methods.test_two_processes_train [METHOD ...]    # differences of every method, as a table

With `METHOD, last stage` the steps are those of the last stage, behind as many of each stage before it and all that the
method does between them: labels, copies, fresh networks and optimisers.
"""

import sys
import tempfile
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from benchmarks.helpers.method_settings import ALL_ON, section, stages
from tests.trainers.methods.test_every_method import config
from tests.trainers.runs import in_double, in_float64
from trainers.interface.batch import SemiBatch
from trainers.loop.process_group import Process
from trainers.loop.run import Run
from trainers.loop.step_means import StepMeans
from trainers.models.build import build_model
from trainers.models.model_config import ModelConfig

WORLD, STEPS = 2, 5
OTHERS = {
    "adamw": {"optim": {"name": "adamw", "lr": 0.001, "weight_decay": 0.01}},
    "contiguous": {"precision": {"channels_last": False}},
    "clipped": {"optim": {"clip_norm": 0.5}},
}
"""Settings beside the default ones (SGD, channels_last)."""
IN_PARTS = {
    "in parts": {"optim": {"accumulate": 2}},
    "in parts, contiguous": {"optim": {"accumulate": 2}, "precision": {"channels_last": False}},
}
"""A part of a step holds other images in two processes than in one; here two processes are compared with each other."""
LARGEST = 1e-7
"""Of a difference, relative to what the steps changed. Rounding is 1e-12 and less; where Adam divides the rounding of a
gradient that is 0 by its own size, 1e-8."""
SHARES, UNSURE = ("cutmixseg", "classmix"), {"method": {"conf_thresh": 0.15}}
SEVERAL_NETWORKS = ("cps+cutmix", "gct", "ucc", "cct", "psmt", "unimatch", "unimatch_v2")
DINOV2 = {"model": {"name": "dinov2_dpt", "size": "tiny"}, "data": {"crop": 28}, **OTHERS["adamw"]}
LAST = ", last stage"
SEVERAL_STAGES = ("st", "stpp", "dstcbc", "dsbn", "dmt", "naive_student", "noisy_student")
COMMON_ENCODER = ("meanteacher", "cps+cutmix")
"""Methods whose networks have a frozen encoder in common: an average's, and a second trained network's."""


def trained(name, folder, sections, *, images=4, steps=STEPS):
    """All that a run holds after some steps of a method's first or last stage, by part and name, and before them."""
    method, last = name.removesuffix(LAST), name.endswith(LAST)
    data = {**sections.get("data", {}), "batch_size": images}
    merged = {**sections, "data": data, "schedule": {"epochs": 2, "steps_per_epoch": steps}}
    with in_float64():
        run = Run(config(method, **merged), folder)
        for epoch in range(run.epochs[-1].start + 1 if last else 1):
            run._reach(epoch)
            before = state_of(run)
            for batch in run.loader.epoch(epoch):
                run.train_step(in_double(batch), StepMeans(run.process))
    assert run.stage == (len(run.stages) - 1 if last else 0)
    after = state_of(run)
    run.close()
    return before, after


def state_of(run):
    found = {part: {key: value.clone() for key, value in held.items()} for part, held in run.weights().items()}
    for part, optimizer in run.networks.optimizers.items():
        names = {id(parameter): key for key, parameter in run.networks.trained[part].module.named_parameters()}
        found[f"optimiser of {part}"] = {
            f"{names[id(parameter)]}.{key}": torch.as_tensor(value).clone()
            for parameter, state in optimizer.state.items()
            for key, value in state.items()
            if value is not None
        }
    return found


def work(rank, folder, wanted, steps):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    try:
        for name, label, sections in wanted:
            torch.save(trained(name, folder, sections, steps=steps), folder / f"{name}, {label}, {rank}.pt")
    finally:
        dist.destroy_process_group()


def together(folder, wanted, *, steps=STEPS):
    """A function that gives what a process holds, by its rank, the method and the settings; once each, since they are
    large."""
    mp.spawn(work, args=(folder, wanted, steps), nprocs=WORLD)

    def held(rank, name, label=""):
        file = folder / f"{name}, {label}, {rank}.pt"
        found = torch.load(file)
        file.unlink()
        return found

    return held


def apart(one, other):
    """The largest difference of any part, relative to what the steps changed in it, or where they changed nothing, to
    its norm; counts and labels must be equal."""
    (before, ours), (_, theirs) = one, other
    assert ours.keys() == theirs.keys()
    worst = {}
    for part, held in ours.items():
        assert held.keys() == theirs[part].keys(), part
        difference, moved, size = 0.0, 0.0, 0.0
        for key, value in held.items():
            if not value.is_floating_point():
                assert torch.equal(value, theirs[part][key]), (part, key)
                continue
            start = before[part].get(key)
            start = start if start is not None and start.shape == value.shape else torch.zeros_like(value)
            difference += float((value - theirs[part][key]).double().square().sum())
            moved += float((value - start).double().square().sum())
            size += float(value.double().square().sum())
        worst[part] = (difference / (moved or size or 1.0)) ** 0.5
    return worst


def assert_alike(one, other):
    for part, difference in apart(one, other).items():
        assert difference < LARGEST, (part, difference)


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    """Settings of an encoder that stays, with weights from a file, so that a second network's are equal."""
    file = tmp_path_factory.mktemp("weights") / "small.pth"
    network = build_model(ModelConfig(backbone="small", weights="none"), num_classes=2, seed=0)
    torch.save(network.backbone.state_dict(), file)
    return {"model": {"freeze": True, "weights": str(file)}}


@pytest.fixture(scope="module")
def two(tmp_path_factory, frozen):
    """With the default settings; started once."""
    wanted = [*((name, "", {}) for name in SEVERAL_NETWORKS), ("unimatch_v2", "dinov2", DINOV2)]
    wanted += [(name, "frozen", frozen) for name in COMMON_ENCODER]
    return together(tmp_path_factory.mktemp("two"), wanted)


@pytest.mark.parametrize("name", SEVERAL_NETWORKS)
def test_after_some_steps_two_processes_hold_what_one_does(name, two, tmp_path, one_thread):
    alone = trained(name, tmp_path, {})
    assert all(
        not torch.equal(value, alone[0][part][key])
        for part, held in alone[1].items()
        if part in alone[0] and not part.startswith("optimiser")
        for key, value in held.items()
        if key.endswith("conv1.weight")
    )
    for rank in range(WORLD):
        assert_alike(alone, two(rank, name))


def test_so_does_unimatch_v2_with_its_own_network(two, tmp_path, one_thread):
    alone = trained("unimatch_v2", tmp_path, DINOV2)
    assert "backbone.pos_embed" in alone[1]["student"]
    for rank in range(WORLD):
        assert_alike(alone, two(rank, "unimatch_v2", "dinov2"))


@pytest.mark.parametrize("name", COMMON_ENCODER)
def test_a_frozen_encoder_in_common_stays_and_all_else_trains_as_on_one_process(
    name, two, frozen, tmp_path, one_thread
):
    before, after = alone = trained(name, tmp_path, frozen)
    of_encoder = [key for key in after["student"] if key.startswith("backbone.")]
    assert of_encoder
    for rank in range(WORLD):
        held = two(rank, name, "frozen")
        assert_alike(alone, held)
        assert all(torch.equal(held[1]["student"][key], before["student"][key]) for key in of_encoder)
    if name == "cps+cutmix":
        assert all(torch.equal(after["peer"][key], after["student"][key]) for key in of_encoder)


@pytest.fixture(scope="module")
def two_unsure(tmp_path_factory):
    """With a threshold that some pixels of each process miss, not equally many."""
    return together(tmp_path_factory.mktemp("unsure"), [(name, "", UNSURE) for name in SHARES], steps=1)


@pytest.mark.parametrize("name", SHARES)
def test_the_share_of_confident_pixels_is_that_of_all_processes(name, two_unsure, tmp_path, one_thread):
    alone = trained(name, tmp_path, UNSURE, steps=1)
    for rank in range(WORLD):
        assert_alike(alone, two_unsure(rank, name))


@pytest.fixture(scope="module", params=["", *OTHERS])
def every_method(request, tmp_path_factory):
    """Settings, and what two processes hold with them."""
    sections = OTHERS.get(request.param, {})
    wanted = [(name, request.param, sections) for name in ALL_ON]
    return request.param, sections, together(tmp_path_factory.mktemp("every"), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL_ON)
def test_so_they_do_for_every_method_optimiser_and_memory_layout(name, every_method, tmp_path, one_thread):
    label, sections, held = every_method
    alone = trained(name, tmp_path, sections)
    for rank in range(WORLD):
        assert_alike(alone, held(rank, name, label))


@pytest.mark.slow
def test_all_methods_of_several_stages_are_among_those_whose_last_is_compared():
    assert {name for name in ALL_ON if stages(section(name)) > 1} == set(SEVERAL_STAGES)


@pytest.fixture(scope="module", params=["", *OTHERS])
def last_stages(request, tmp_path_factory):
    """Settings, and what two processes hold with them after steps of a last stage."""
    sections = OTHERS.get(request.param, {})
    wanted = [(f"{name}{LAST}", request.param, sections) for name in SEVERAL_STAGES]
    return request.param, sections, together(tmp_path_factory.mktemp("last"), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEVERAL_STAGES)
def test_so_they_do_after_the_labels_and_steps_of_a_methods_last_stage(name, last_stages, tmp_path, one_thread):
    label, sections, held = last_stages
    alone = trained(f"{name}{LAST}", tmp_path, sections)
    assert any("masks" in key for key in alone[1]["method"])
    for rank in range(WORLD):
        assert_alike(alone, held(rank, f"{name}{LAST}", label))


@pytest.fixture(scope="module")
def in_parts(tmp_path_factory):
    wanted = [(name, label, sections) for name in ALL_ON for label, sections in IN_PARTS.items()]
    return together(tmp_path_factory.mktemp("parts"), wanted, steps=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL_ON)
def test_a_step_in_parts_on_two_processes_is_the_same_in_both_memory_layouts(name, in_parts):
    for rank in range(WORLD):
        first, second = (in_parts(rank, name, label) for label in IN_PARTS)
        assert_alike(first, second)


def one_average(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    weights = [
        torch.zeros(4, 3, 2, 2).to(memory_format=torch.channels_last).requires_grad_(),
        torch.zeros(5, 4).t().requires_grad_(),
        torch.zeros(3, requires_grad=True),
    ]
    for number, weight in enumerate(weights[:2] if rank else weights):
        generator = torch.Generator().manual_seed(10 * rank + number)
        weight.grad = torch.randn(weight.shape, generator=generator)
    Process(rank=rank, world=WORLD, device=torch.device("cpu")).average_gradients(weights)
    torch.save([(weight.grad, weight.stride(), weight.grad.stride()) for weight in weights], folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_averaged_gradients_are_the_mean_and_lie_in_memory_as_their_weights_do(tmp_path):
    mp.spawn(one_average, args=(tmp_path,), nprocs=WORLD)
    for rank in range(WORLD):
        for number, (gradient, weight_stride, stride) in enumerate(torch.load(tmp_path / f"{rank}.pt")):
            parts = [
                torch.randn(gradient.shape, generator=torch.Generator().manual_seed(10 * one + number))
                for one in ((0, 1) if number < 2 else (0,))
            ]
            torch.testing.assert_close(gradient, sum(parts) / WORLD)
            assert stride == weight_stride


def test_a_batch_in_double_keeps_masks_and_boxes_as_they_are(tmp_path):
    run = Run(config("unimatch", data={"batch_size": 4}), tmp_path)
    batch = next(iter(run.loader.epoch(0)))
    double = in_double(batch)
    assert isinstance(double, SemiBatch)
    assert double.labelled.image.dtype == torch.float64
    assert torch.equal(double.labelled.mask, batch.labelled.mask)
    assert double.unlabelled.boxes[0].dtype == torch.bool


def main():
    """Print, for every named method (none: all) with the default settings, the largest difference of
    each part."""
    torch.set_num_threads(1)
    names = sys.argv[1:] or [*ALL_ON, *(f"{name}{LAST}" for name in SEVERAL_STAGES)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        two = together(folder, [(name, "", {}) for name in names])
        sys.stdout.write(f"after {STEPS} steps, torch {torch.__version__}\n| method | difference |\n|---|---|\n")
        for name in names:
            alone = trained(name, folder / name, {})
            ranks = [apart(alone, two(rank, name)) for rank in range(WORLD)]
            parts = {part: max(rank[part] for rank in ranks) for part in ranks[0]}
            sys.stdout.write(f"| {name} | {', '.join(f'{part} {one:.0e}' for part, one in parts.items())} |\n")


if __name__ == "__main__":
    main()
