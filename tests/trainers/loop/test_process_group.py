"""Two real processes over gloo against one with the whole batch."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.trainers.runs import in_double, in_float64, rows, same_tensors, tensors, tiny
from trainers.common.errors import TrainingError
from trainers.data.loader import TrainLoader
from trainers.data.open import open_data
from trainers.data.read import Reader
from trainers.interface.epoch_record import Decision
from trainers.interface.method import Needs
from trainers.loop.batch_norm import GlobalBatchNorm2d
from trainers.loop.evaluate import evaluate
from trainers.loop.fit import fit
from trainers.loop.process_group import Process, current, without_buffer_sync
from trainers.loop.run import Run
from trainers.loop.step_means import StepMeans
from trainers.losses.labelled import LabelledLoss
from trainers.losses.labelled_config import LossConfig

WORLD = 2
STEP = {
    "data": {"batch_size": 4},
    "method": {"name": "unimatch", "conf_thresh": 0.1},
    "interpixel": {"alpha": 3.0, "tau": 0.05, "warmup_fraction": 0},
}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two processes of one gloo group left behind; started once, since that is what takes the time."""
    folder = tmp_path_factory.mktemp("two")
    mp.spawn(work, args=(str(folder),), nprocs=WORLD)
    return folder


def work(rank, name):
    torch.set_num_threads(1)
    folder = Path(name)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    try:
        for part in PARTS:
            part(rank, folder)
    finally:
        dist.destroy_process_group()


def gradients(folder):
    """Gradients in float64 of one step of UniMatch with the inter-pixel loss, averaged over processes where there are
    several."""
    with in_float64():
        run = Run(tiny(**STEP), folder)
    batch = in_double(next(iter(run.loader.epoch(0))))
    output = run.method.losses(run._step(batch))
    run._total(output, StepMeans(run.process)).backward()
    return {name: parameter.grad.clone() for name, parameter in run.student.named_parameters()}, run


def scores_of_three_images():
    """Three images over two processes, so that a sampler that pads would count one twice."""
    config = tiny(**STEP, evaluation={"boundary_width": 0.05})
    data = open_data(config.data, final=False)
    network = nn.Conv2d(3, data.num_classes, 1, bias=False)
    generator = torch.Generator().manual_seed(0)
    torch.nn.init.normal_(network.weight, generator=generator)
    return evaluate(
        {"student": network},
        data.holdout[:3],
        config=config,
        reader=Reader(data.num_classes),
        num_classes=data.num_classes,
        process=current("cpu"),
        main="student",
        prefix="val",
    )


def save_scores(rank, folder):
    (folder / f"scores{rank}.json").write_text(json.dumps(scores_of_three_images()))


def test_two_processes_count_every_image_of_an_evaluation_once(two):
    expected = scores_of_three_images()
    assert expected["val/miou"] > 0
    assert expected["val/boundary_iou"] > 0
    for rank in range(WORLD):
        assert json.loads((two / f"scores{rank}.json").read_text()) == expected


def save_gradients(rank, folder):
    found, run = gradients(folder)
    if rank == 0:
        torch.save({"gradients": found, "buffers": dict(run.student.named_buffers())}, folder / "two.pt")


def test_two_processes_give_the_gradients_of_one_with_the_same_global_batch(two, tmp_path):
    together = torch.load(two / "two.pt")
    one, run = gradients(tmp_path / "one")
    assert sum(float(gradient.abs().sum()) for gradient in one.values()) > 0
    for name, expected in one.items():
        scale = expected.abs().max().clamp(min=1e-6)
        assert float((together["gradients"][name] - expected).abs().max() / scale) < 1e-9, name
    flat_one = torch.cat([one[name].flatten() for name in one])
    flat_two = torch.cat([together["gradients"][name].flatten() for name in one])
    assert float((flat_one - flat_two).norm() / flat_one.norm()) < 1e-12
    for name, buffer in run.student.named_buffers():
        torch.testing.assert_close(together["buffers"][name], buffer, rtol=1e-5, atol=1e-6)


def test_the_labelled_batch_of_that_step_has_ignored_pixels_in_unequal_numbers():
    config = tiny(**STEP)
    data = open_data(config.data, final=False)
    needs = Needs(unlabelled=False)
    batch = next(iter(TrainLoader(data, config, needs).epoch(0)))
    ignored = (batch.labelled.mask == 255).flatten(1).sum(dim=1)
    assert int(ignored[:2].sum()) != int(ignored[2:].sum())


LOSSES = ("ce", "focal", "dice", "lovasz", "ce+dice")


def labelled_gradients(logits, labels, process):
    """By kind of loss, with class weights, in float64."""
    found = {}
    for kind in LOSSES:
        leaf = logits.clone().requires_grad_()
        weights = torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64)
        loss = LabelledLoss(LossConfig(labelled=kind), weights=weights, total=process.total)
        loss(leaf, labels, process.denominator("global")).backward()
        found[kind] = leaf.grad
    return found


def labelled_batch():
    """Four images; the second half has fewer labelled pixels and lacks a class, and one of its images is ignored."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(4, 3, 6, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (4, 6, 5), generator=generator)
    labels[2] = torch.where(labels[2] == 2, 255, labels[2])
    labels[3] = 255
    return logits, labels


def save_labelled_gradients(rank, folder):
    mine = slice(2 * rank, 2 * rank + 2)
    logits, labels = labelled_batch()
    torch.save(labelled_gradients(logits[mine], labels[mine], current("cpu")), folder / f"labelled{rank}.pt")


def test_every_labelled_loss_of_two_processes_has_the_gradient_of_one_with_the_whole_batch(two):
    expected = labelled_gradients(*labelled_batch(), current("cpu"))
    halves = [torch.load(two / f"labelled{rank}.pt") for rank in range(WORLD)]
    for kind in LOSSES:
        averaged = torch.cat([half[kind] for half in halves]) / WORLD
        torch.testing.assert_close(averaged, expected[kind], rtol=1e-6, atol=1e-9)
        assert expected[kind].abs().sum() > 0


def whole_batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 5, 4, 3, generator=generator, dtype=torch.float64) * 3 + 1


def weighting():
    return torch.linspace(-1, 2, 6 * 5 * 4 * 3, dtype=torch.float64).view(6, 5, 4, 3)


def save_normalised(rank, folder):
    norm = GlobalBatchNorm2d(5).double()
    part = slice(rank * 3, rank * 3 + 3)
    features = whole_batch()[part].requires_grad_()
    output = norm(features)
    (output * weighting()[part]).sum().backward()
    torch.save(
        {"output": output.detach(), "gradient": features.grad, "state": norm.state_dict()}, folder / f"norm{rank}.pt"
    )


def test_batch_norm_over_processes_equals_batch_norm_over_the_whole_batch(two):
    parts = [torch.load(two / f"norm{rank}.pt") for rank in range(WORLD)]
    reference = nn.BatchNorm2d(5).double()
    features = whole_batch().requires_grad_()
    output = reference(features)
    (output * weighting()).sum().backward()
    torch.testing.assert_close(torch.cat([part["output"] for part in parts]), output.detach())
    torch.testing.assert_close(torch.cat([part["gradient"] for part in parts]), features.grad)
    for part in parts:
        for name, value in reference.state_dict().items():
            torch.testing.assert_close(part["state"][name], value)


def normalise_half(rank, folder):
    norm = GlobalBatchNorm2d(5)
    features = whole_batch()[rank * 3 : rank * 3 + 3].bfloat16().requires_grad_()
    output = norm(features)
    output.float().sum().backward()
    torch.save({"output": output.detach(), "state": norm.state_dict()}, folder / f"half{rank}.pt")


def test_batch_norm_over_processes_takes_bfloat16_and_keeps_float32_statistics(two):
    parts = [torch.load(two / f"half{rank}.pt") for rank in range(WORLD)]
    reference = nn.BatchNorm2d(5)
    expected = reference(whole_batch().bfloat16().float())
    assert parts[0]["output"].dtype == torch.bfloat16
    output = torch.cat([part["output"] for part in parts]).float()
    torch.testing.assert_close(output, expected.detach(), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(parts[0]["state"]["running_var"], reference.running_var)


def exchanges(over, folder):
    """How often the processes exchange anything in one step."""
    run = Run(tiny(**STEP, optim={"batch_norm": over}), folder)
    batch = next(iter(run.loader.epoch(0)))
    with Exchanges() as seen:
        run.train_step(batch, StepMeans(run.process))
    return seen.count, sum(isinstance(one, nn.BatchNorm2d) for one in run.student.modules())


class Exchanges(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.namespace == "c10d"
        return func(*args, **(kwargs or {}))


def count_exchanges(rank, folder):
    found = {over: exchanges(over, folder / "exchanges") for over in ("global", "device")}
    (folder / f"exchanges{rank}.json").write_text(json.dumps(found))


def test_batch_norm_over_each_process_s_own_images_exchanges_nothing(two):
    for rank in range(WORLD):
        found = json.loads((two / f"exchanges{rank}.json").read_text())
        (all_images, layers), (own, _) = found["global"], found["device"]
        passes = 2  # in train mode: labelled with weak images, both strong views
        assert all_images - own == 2 * layers * passes


def train_on_own_images(rank, folder):
    """The same epoch twice: step by step, as `train_epoch` does it but for its end, and by `train_epoch`."""
    config = tiny(**STEP, optim={"batch_norm": "device"})
    steps, epoch = (Run(config, folder / name) for name in ("steps", "epoch"))
    for batch in steps.loader.epoch(0):
        steps.train_step(batch, StepMeans(steps.process))
    epoch.train_epoch(0, None)
    torch.save({"steps": steps.student.state_dict(), "epoch": epoch.student.state_dict()}, folder / f"images{rank}.pt")


def test_statistics_of_own_images_differ_in_an_epoch_and_are_averaged_after_it(two):
    first, second = (torch.load(two / f"images{rank}.pt") for rank in range(WORLD))
    kept = [name for name in first["steps"] if name.endswith(("running_mean", "running_var"))]
    assert kept
    for name, value in first["epoch"].items():
        assert torch.equal(value, second["epoch"][name]), name
        if name in kept:
            assert not torch.equal(first["steps"][name], second["steps"][name])
            torch.testing.assert_close(value, (first["steps"][name] + second["steps"][name]) / WORLD)
        else:
            assert torch.equal(value, first["steps"][name]), name


def watch_one_bad_rank(rank, folder):
    step_means = StepMeans(current("cpu"))
    step_means.watch({"fine": torch.tensor(1.0), "bad": torch.tensor(float("nan") if rank == 1 else 1.0)}, step=7)
    try:
        step_means.check(epoch=1)
    except TrainingError as error:
        (folder / f"said{rank}").write_text(str(error))


def test_a_loss_that_is_bad_on_one_process_stops_all_of_them(two):
    for rank in range(WORLD):
        assert (two / f"said{rank}").read_text() == "loss bad is NaN or infinite at step 7 (epoch 1)"


def fit_together(rank, folder):
    config = tiny(schedule={"epochs": 3, "steps_per_epoch": 2}, data={"batch_size": 4})

    def stop(record):
        return Decision.STOP if rank == 0 and record.epoch == 1 else Decision.CONTINUE

    fit(config, folder / "unbroken")
    result = fit(config, folder / "stopped", callbacks=[stop])
    (folder / f"stopped{rank}").write_text(str(len(result.records)))
    fit(config, folder / "stopped")


def test_a_run_of_two_processes_that_rank_0_stopped_goes_on_as_if_it_had_not_been(two):
    assert [(two / f"stopped{rank}").read_text() for rank in range(WORLD)] == ["1", "1"]
    assert len(rows(two / "unbroken")) == 3
    assert rows(two / "stopped") == rows(two / "unbroken")
    assert same_tensors(tensors(two / "stopped"), tensors(two / "unbroken"))


def fit_apart(rank, folder):
    """With a folder each, as on nodes that share none; rank 1 sees what was copied to it."""
    config = tiny(schedule={"epochs": 2, "steps_per_epoch": 2}, data={"batch_size": 4}, evaluation={"final": True})
    fit(config, folder / "in one folder")
    own = folder / f"own{rank}"
    fit(config, own, callbacks=[lambda record: Decision.STOP])
    try:
        fit(config, own)
    except RuntimeError as error:
        (folder / f"apart{rank}").write_text(str(error))
    if rank == 1:
        shutil.copytree(folder / "own0", own)
    dist.barrier()
    fit(config, own)


def test_processes_that_share_no_folder_end_with_the_scores_of_those_that_do(two):
    assert rows(two / "own0") == rows(two / "in one folder")
    assert "final/best/miou" in rows(two / "own0")[-1]


def test_processes_that_would_go_on_from_different_steps_all_refuse(two):
    assert "goes on from step 2, and not all others do" in (two / "apart0").read_text()
    assert "goes on from step 0, and not all others do" in (two / "apart1").read_text()


PARTS = (
    save_gradients,
    save_scores,
    save_labelled_gradients,
    save_normalised,
    normalise_half,
    watch_one_bad_rank,
    fit_together,
    fit_apart,
    count_exchanges,
    train_on_own_images,
)
"""What the two processes do, in this order."""


@pytest.mark.parametrize(("mode", "expected"), [("global", 5.0), ("device", 5.0)])
def test_with_one_process_both_denominators_are_the_count(mode, expected):
    process = Process(rank=0, world=1, device=torch.device("cpu"))
    assert float(process.denominator(mode)(torch.tensor(5))) == expected


def test_an_empty_count_never_divides_by_zero():
    process = Process(rank=0, world=1, device=torch.device("cpu"))
    assert float(process.denominator("global")(torch.tensor(0))) == 1.0


def older(module, device_ids=None, broadcast_buffers=True):
    """DDP's arguments in PyTorch 2.11."""


def newer(module, device_ids=None, broadcast_buffers=None, forward_sync_buffers=None):
    """DDP's arguments in PyTorch 2.15, where giving the older one is deprecated."""


@pytest.mark.parametrize(("wrapper", "name"), [(older, "broadcast_buffers"), (newer, "forward_sync_buffers")])
def test_ddp_is_kept_from_sending_buffers_by_the_name_that_its_version_knows(wrapper, name):
    assert without_buffer_sync(wrapper) == {name: False}
