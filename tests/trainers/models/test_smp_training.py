"""Frozen encoders, stochastic depth, checkpointing and dropout of networks of smp and timm, and of our own where it has
them."""

import contextlib
import copy

import pytest
import torch

from tests.trainers.runs import same_tensors, tensors, tiny
from trainers.common.errors import ConfigError
from trainers.interface.epoch_record import Decision
from trainers.loop.fit import fit
from trainers.loop.optim import build_optimizer
from trainers.loop.run import Run
from trainers.methods.ema import EmaTeacher
from trainers.methods.separate_norm import SeparateNorm
from trainers.models.build import build_model
from trainers.models.model_config import ModelConfig
from trainers.models.noise import noise_of

pytest.importorskip("segmentation_models_pytorch")
SLIM = {"decoder_intermediate_channels": [8, 8, 16, 16], "decoder_fusion_channels": 16}
VIT = {"architecture": "dpt", "encoder": "tu-test_vit", "options": SLIM}
UNET = {"architecture": "unet", "encoder": "tu-test_efficientnet", "options": {"decoder_channels": [16, 16, 8, 8, 8]}}


def network(kind, **values):
    return build_model(ModelConfig(name="smp", weights="none", **kind, **values), num_classes=4, seed=0)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", [VIT, UNET, None])
def test_a_frozen_encoder_keeps_weights_and_statistics_and_is_in_no_optimiser(kind):
    own = ModelConfig(backbone="small", weights="none", freeze=True)
    model = build_model(own, num_classes=4, seed=0) if kind is None else network(kind, freeze=True)
    before = copy.deepcopy(model.state_dict())
    optimizer = build_optimizer(model, model.backbone, tiny(optim={"lr": 0.1}).optim)
    model.train()
    assert not any(module.training for module in model.backbone.modules())
    model(drawn(2, 3, 64, 64)).square().mean().backward()
    optimizer.step()
    same = {name: torch.equal(value, before[name]) for name, value in model.state_dict().items()}
    assert all(kept for name, kept in same.items() if name.startswith("backbone."))
    assert not all(kept for name, kept in same.items() if not name.startswith("backbone."))
    trained = {id(one) for group in optimizer.param_groups for one in group["params"]}
    assert trained == {id(one) for one in model.parameters() if one.requires_grad}
    copied = copy.deepcopy(model).train()
    assert not copied.backbone.training


@pytest.mark.parametrize("kind", [VIT, UNET])
def test_checkpointing_leaves_output_and_gradients_as_they_are(kind):
    plain, saving = network(kind), network(kind, checkpointing=True)
    images = drawn(2, 3, 64, 64)
    for model in (plain, saving):
        model(images).square().mean().backward()
    for (name, one), other in zip(plain.named_parameters(), saving.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, msg=name)


def test_checkpointing_leaves_batch_norm_of_its_own_to_the_second_part_of_a_batch():
    images, found = torch.cat([drawn(2, 3, 64, 64), 3 * drawn(2, 3, 64, 64, seed=1) + 1]), []
    for saving in (False, True):
        model = network(UNET, checkpointing=saving)
        norms = SeparateNorm(model, model.backbone)
        with norms.behind(2):
            logits = model.train()(images)
        logits.square().mean().backward()
        found.append([one.grad for module in (model, norms.norms) for one in module.parameters()])
    for one, other in zip(*found, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(other, one)


def test_stochastic_depth_rises_to_the_value_that_was_asked_for_and_is_0_unless_asked():
    def rates(model):
        return [float(one.drop_prob) for one in model.backbone.modules() if type(one).__name__ == "DropPath"]

    mit, convnext = ({"architecture": "segformer", "encoder": name} for name in ("mit_b0", "tu-test_convnext"))
    assert set(rates(network(mit))) == {0.0}  # smp's own is 0.1
    for kind in (mit, convnext):
        asked = rates(network(kind, drop_path=0.3))
        assert asked == sorted(asked)
        assert max(asked) == pytest.approx(0.3)


def test_a_teacher_that_gathers_batch_statistics_does_so_without_dropout():
    student = network(VIT, dropout=0.5, drop_path=0.5)
    assert noise_of(student)
    teacher, images = EmaTeacher(student, decay=0.9, buffers="own"), drawn(2, 3, 64, 64)
    assert torch.equal(teacher(images), teacher(images))
    assert any(module.training for module in teacher.network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    student.train()
    assert not torch.equal(student(images), student(images))


def test_a_run_with_dropout_goes_on_from_its_checkpoint_exactly(tmp_path):
    made = tiny(
        model={"name": "smp", "weights": "none", **VIT, "dropout": 0.3, "drop_path": 0.2},
        method={"teacher": "ema", "ema_buffers": "own"},
        schedule={"epochs": 2, "steps_per_epoch": 2},
    )

    fit(made, tmp_path / "whole")
    torch.manual_seed(1)  # whatever the process did before
    fit(made, tmp_path / "cut", callbacks=[lambda record: Decision.STOP])
    torch.manual_seed(2)
    fit(made, tmp_path / "cut")
    assert same_tensors(tensors(tmp_path / "whole"), tensors(tmp_path / "cut"))


def test_a_training_of_one_band_sees_the_grey_of_the_images(tmp_path):
    made = tiny(model={"name": "smp", **UNET, "in_channels": 1, "mean": [0.25], "std": [0.5]})
    colour = tiny()
    seen = []
    for number, one in enumerate((made, colour)):
        with contextlib.closing(Run(one, tmp_path / str(number))) as run:
            seen.append(next(iter(run.loader.epoch(0))).labelled.image)
    mean, std = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    rgb = seen[1] * std + mean
    grey = 0.299 * rgb[:, 0] + 0.587 * rgb[:, 1] + 0.114 * rgb[:, 2]
    torch.testing.assert_close(seen[0], (grey[:, None] - 0.25) / 0.5, rtol=1e-4, atol=1e-5)


def test_learning_rates_fall_by_layers_as_timm_groups_them():
    model = network(VIT)
    optimizer = build_optimizer(model, model.backbone, tiny(optim={"lr": 0.8, "layer_decay": 0.5}).optim)
    rate = {id(one): group["initial_lr"] for group in optimizer.param_groups for one in group["params"]}
    named = {name: rate[id(one)] for name, one in model.named_parameters() if one.requires_grad}
    blocks = len(model.backbone.model.blocks)
    last = [named[f"backbone.model.blocks.{number}.attn.qkv.weight"] for number in range(blocks)]
    assert last == pytest.approx([0.8 * 0.5 ** (blocks - number) for number in range(blocks)])
    assert named["backbone.model.pos_embed"] == pytest.approx(0.8 * 0.5 ** (blocks + 1))
    assert {named[name] for name in named if not name.startswith("backbone.")} == {0.8}
    other = network(UNET)
    with pytest.raises(ConfigError, match=r"optim\.layer_decay: this encoder's layers are not known"):
        build_optimizer(other, other.backbone, tiny(optim={"layer_decay": 0.5}).optim)
