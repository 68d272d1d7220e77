"""A frozen encoder that a teacher or a second network shares with the student: held once, run once, the same bits."""

import copy

import pytest
import torch

from tests.trainers.methods.test_every_method import config, quick_ones
from tests.trainers.runs import same_tensors
from trainers.loop.run import Run
from trainers.loop.step_means import StepMeans
from trainers.methods.ema import EmaTeacher
from trainers.models import frozen
from trainers.models.build import build_model
from trainers.models.model_config import ModelConfig

STEPS = 2
PASSES = {"meanteacher": (2, 1), "cps+cutmix": (8, 4), "gct": (2, 1), "psmt": (4, 3), "unimatch_v2": (4, 4)}
"""Of the encoder in a step: each network's own, and in common."""


def network(seed=0, *, freeze=True):
    return build_model(ModelConfig(backbone="small", weights="none", freeze=freeze), num_classes=4, seed=seed)


def images(seed=0):
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def passes(encoder):
    """A list that gets longer with each of the encoder's passes."""
    seen = []
    whole = encoder.stages
    encoder.stages = lambda given: [seen.append(given.shape), whole(given)][1]
    return seen


def trained(name, folder, weights):
    """What a run holds after some steps, its losses, and how often encoders ran in the last step."""
    model, schedule = {"freeze": True, "weights": str(weights)}, {"epochs": 1, "steps_per_epoch": STEPS}
    run = Run(config(name, model=model, schedule=schedule), folder)
    encoders = {id(one.backbone): one.backbone for one in run.method.networks().values() if hasattr(one, "backbone")}
    counts = [passes(encoder) for encoder in encoders.values()]
    step_means, batches = StepMeans(run.process), run.loader.epoch(0)
    for _ in range(STEPS):
        for one in counts:
            one.clear()
        run.train_step(next(batches), step_means)
    batches.close()
    held = {f"{part}.{key}": value.clone() for part, kept in run.weights().items() for key, value in kept.items()}
    found = held, step_means.means(), sum(map(len, counts)), len(encoders)
    run.close()
    return found


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Of an encoder, so that a second network's is equal."""
    file = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save(network().backbone.state_dict(), file)
    return file


@pytest.mark.parametrize("name", quick_ones(PASSES, {"meanteacher", "cps+cutmix"}))
def test_a_frozen_encoder_runs_once_on_the_same_images_and_changes_no_bit(name, weights, tmp_path, monkeypatch):
    ours, losses, often, encoders = trained(name, tmp_path / "common", weights)
    monkeypatch.setattr("trainers.methods.ema.copied", copy.deepcopy)
    monkeypatch.setattr("trainers.loop.method_context.share", lambda *given: None)
    monkeypatch.setattr(EmaTeacher, "_move", _moved_but_for_the_encoder)
    theirs, expected, own, apart = trained(name, tmp_path / "own", weights)
    assert same_tensors(ours, theirs)
    assert losses == expected
    assert (encoders, apart > 1) == (1, True)
    assert (own, often) == PASSES[name]


def _moved_but_for_the_encoder(self, decay, whole=EmaTeacher._move):
    """The average of equal numbers is rounded, and so is no reference for an encoder that stays."""
    before = copy.deepcopy(self.network.backbone.state_dict())
    whole(self, decay)
    self.network.backbone.load_state_dict(before)


def test_the_average_of_a_frozen_encoder_does_not_drift_by_rounding():
    student = network()
    before = copy.deepcopy(student.backbone.state_dict())
    teacher = EmaTeacher(student, decay=0.7, buffers="ema", warm_up=False)
    for _ in range(5):
        with torch.no_grad():
            student.classify.weight.add_(0.1)
        teacher.update()
    assert teacher.network.backbone is student.backbone
    assert same_tensors(before, student.backbone.state_dict())
    assert not torch.equal(teacher.network.classify.weight, student.classify.weight)


def test_an_encoder_that_trains_is_copied_and_not_shared():
    student = network(freeze=False)
    teacher = EmaTeacher(student, decay=0.7, buffers="ema")
    assert teacher.network.backbone is not student.backbone
    peer = network(freeze=False)
    frozen.share(peer, student)
    assert peer.backbone is not student.backbone


def test_frozen_encoders_of_other_weights_stay_apart():
    one, other = network(seed=0), network(seed=1)
    frozen.share(other, one)
    assert other.backbone is not one.backbone


def test_a_network_that_is_randomised_leaves_the_common_encoder_alone():
    student = network()
    peer = copy.deepcopy(student)
    frozen.share(peer, student)
    assert peer.backbone is student.backbone
    before = copy.deepcopy(student.state_dict())
    peer.randomise()
    assert same_tensors(before, student.state_dict())
    assert not torch.equal(peer.backbone.state_dict()["stem.0.weight"], before["backbone.stem.0.weight"])


@pytest.mark.parametrize("written", ["images", "weights", "maps"])
def test_maps_are_made_anew_where_something_was_written_to(written):
    student = network()
    teacher = EmaTeacher(student, decay=0.7, buffers="ema")
    seen, given = passes(student.backbone), images()
    student.eval()
    made = student.encoded(given)
    teacher(given)
    assert len(seen) == 1
    with torch.no_grad():
        if written == "images":
            given.add_(1)
        elif written == "weights":
            next(student.backbone.parameters()).add_(1)
        else:
            made.maps[0].add_(1)
    assert torch.equal(teacher(given), copy.deepcopy(teacher.network).eval()(given.clone()))
    assert len(seen) >= 2


def test_maps_of_another_precision_are_not_taken():
    student = network()
    teacher = EmaTeacher(student, decay=0.7, buffers="ema")
    seen, given = passes(student.backbone), images()
    teacher(given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        teacher(given)
    assert len(seen) == 2


def test_maps_are_let_go_with_their_images_and_are_of_two_batches_at_most():
    student = network()
    teacher = EmaTeacher(student, decay=0.7, buffers="ema")
    batches = [images(seed) for seed in range(3)]
    for one in batches:
        teacher(one)
    kept = frozen._OF[student.backbone]._of
    assert len(kept) == frozen.KEPT
    batches.clear()
    del one
    assert len(kept) == 0
