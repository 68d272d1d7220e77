"""DINOv2 with UniMatch V2's head against its equations, written with PyTorch's functions alone, in float64."""

import math

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch.nn import functional as F

from trainers.interface.input_spec import InputSpec
from trainers.models.build import build_model
from trainers.models.dinov2 import SHAPES
from trainers.models.dpt import Dpt
from trainers.models.model_config import ModelConfig

CLASSES = 3


def network(size="tiny", classes=CLASSES):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Dpt(SHAPES[size], num_classes=classes, input_spec=InputSpec(multiple=14)).double()
        with torch.no_grad():  # biases and scales too, which begin at 0 and 1
            for parameter in made.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, dtype=parameter.dtype))
    return made


def pictures(*size, seed=1):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def attention(tokens, state, name, heads):
    batch, count, width = tokens.shape
    mixed = F.linear(tokens, state[f"{name}.qkv.weight"], state[f"{name}.qkv.bias"])
    query, key, value = mixed.view(batch, count, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    weights = (query @ key.transpose(-1, -2) / math.sqrt(width // heads)).softmax(-1)
    joined = (weights @ value).transpose(1, 2).reshape(batch, count, width)
    return F.linear(joined, state[f"{name}.proj.weight"], state[f"{name}.proj.bias"])


def positions(table, grid, rows, columns):
    if rows == columns == grid:
        return table
    square = table[:, 1:].view(1, grid, grid, -1).permute(0, 3, 1, 2)
    scale = ((rows + 0.1) / grid, (columns + 0.1) / grid)
    resized = F.interpolate(square, scale_factor=scale, mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1], resized.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def tokens_of(images, state, shape):
    """Maps of the four blocks."""

    def normed(tokens, name):
        return F.layer_norm(tokens, (shape.width,), state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)

    patches = F.conv2d(images, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=14)
    batch, _, rows, columns = patches.shape
    tokens = torch.cat([state["cls_token"].expand(batch, -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
    tokens = tokens + positions(state["pos_embed"], shape.grid, rows, columns)
    taken = []
    for block in range(shape.depth):
        name = f"blocks.{block}"
        tokens = tokens + state[f"{name}.ls1.gamma"] * attention(
            normed(tokens, f"{name}.norm1"), state, f"{name}.attn", shape.heads
        )
        hidden = F.linear(
            normed(tokens, f"{name}.norm2"), state[f"{name}.mlp.fc1.weight"], state[f"{name}.mlp.fc1.bias"]
        )
        changed = F.linear(F.gelu(hidden), state[f"{name}.mlp.fc2.weight"], state[f"{name}.mlp.fc2.bias"])
        tokens = tokens + state[f"{name}.ls2.gamma"] * changed
        if block in shape.taps:
            taken.append(normed(tokens, "norm")[:, 1:].transpose(1, 2).reshape(batch, -1, rows, columns))
    return taken


def head(maps, state):
    """Logits at 8/14 of the input's size."""

    def conv(features, name, **how):
        return F.conv2d(features, state[f"{name}.weight"], state.get(f"{name}.bias"), **how)

    def unit(features, name):
        inner = conv(F.relu(features), f"{name}.conv1", padding=1)
        return features + conv(F.relu(inner), f"{name}.conv2", padding=1)

    def up(features, size):
        return F.interpolate(features, size=size, mode="bilinear", align_corners=True)

    first, second, third, fourth = (conv(one, f"project.{level}") for level, one in enumerate(maps))
    first = F.conv_transpose2d(first, state["resize.0.weight"], state["resize.0.bias"], stride=4)
    second = F.conv_transpose2d(second, state["resize.1.weight"], state["resize.1.bias"], stride=2)
    fourth = conv(fourth, "resize.3", stride=2, padding=1)
    levels = [conv(one, f"reduce.{level}", padding=1) for level, one in enumerate((first, second, third, fourth))]
    path = conv(up(unit(levels[3], "fusions.3.both"), levels[2].shape[2:]), "fusions.3.project")
    for level in (2, 1, 0):
        size = levels[level - 1].shape[2:] if level else [2 * side for side in levels[0].shape[2:]]
        path = unit(path + unit(levels[level], f"fusions.{level}.own"), f"fusions.{level}.both")
        path = conv(up(path, size), f"fusions.{level}.project")
    return conv(F.relu(conv(path, "fuse.0", padding=1)), "classify")


def by_equations(images, model, shape, dropped=None):
    state = dict(model.named_parameters())
    encoder = {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")}
    maps = tokens_of(images, encoder, shape)
    if dropped is not None:
        maps = [one * dropped for one in maps]
    coarse = head(maps, state)
    return F.interpolate(coarse, size=images.shape[2:], mode="bilinear", align_corners=True)


@pytest.mark.parametrize("size", [(56, 56), (42, 70), (84, 84)])
@pytest.mark.parametrize("dropped", [False, True])
def test_logits_and_gradients_are_those_of_the_equations(size, dropped):
    model, images = network(), pictures(*size)
    mask = torch.randint(0, 2, (2, SHAPES["tiny"].width, 1, 1), generator=torch.Generator().manual_seed(2)) * 2.0
    logits = model(images, dropout=[mask] * 4, plain=False) if dropped else model(images)
    expected = by_equations(images, model, SHAPES["tiny"], mask if dropped else None)
    torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-12)
    slopes = torch.randn(logits.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    ours, theirs = (torch.autograd.grad((one * slopes).sum(), trained) for one in (logits, expected))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("size", "millions", "of_the_head"), [("small", 24.8, 2.7), ("base", 97.5, 10.9), ("large", 335.6, 31.2)]
)
def test_with_21_classes_there_are_as_many_parameters_as_published(size, millions, of_the_head):
    with torch.device("meta"):
        made = Dpt(SHAPES[size], num_classes=21, input_spec=InputSpec())
    all_of_it, encoder = (sum(one.numel() for one in part.parameters()) / 1e6 for part in (made, made.backbone))
    assert round(all_of_it, 1) == millions
    assert round(all_of_it - encoder, 1) == of_the_head


@pytest.mark.parametrize("size", [(56, 56), (42, 70)])
def test_every_parameter_that_is_trained_gets_a_gradient(size):
    model = network()
    model(pictures(*size)).square().sum().backward()
    without = {name for name, one in model.named_parameters() if one.grad is None}
    assert without == {f"fusions.3.own.conv{number}.{kind}" for number in (1, 2) for kind in ("weight", "bias")}
    assert not any(one.requires_grad for name, one in model.named_parameters() if name in without)


def test_training_and_evaluation_and_joint_and_separate_forwards_agree():
    model = network()
    one, other = pictures(42, 56), pictures(42, 56, seed=5)
    model.train()
    joint = model(torch.cat([one, other]))
    model.eval()
    torch.testing.assert_close(joint, torch.cat([model(one), model(other)]), rtol=1e-12, atol=1e-12)
    assert not list(model.buffers())


def test_an_image_of_another_size_is_resized_to_multiples_of_14_and_its_logits_back():
    model, images = network(), pictures(50, 65)
    near = F.interpolate(images, size=(56, 70), mode="bilinear", align_corners=True)
    expected = F.interpolate(model(near), size=(50, 65), mode="bilinear", align_corners=True)
    torch.testing.assert_close(model(images), expected, rtol=1e-10, atol=1e-12)


def test_positions_are_timms_at_the_grids_own_size_and_others_elsewhere():
    encoder = network().backbone

    def apart(*size):
        patches = encoder.patch_embed(pictures(*size))
        with torch.no_grad():
            ours, timms = encoder._pos_embed(patches), VisionTransformer._pos_embed(encoder, patches)
            return float((ours - timms).norm() / timms.norm())

    assert apart(56, 56) == 0
    assert 1e-3 < apart(42, 70) < 0.5


def test_positions_are_not_rounded_under_autocast():
    encoder = network().float().backbone
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = encoder._positions(3, 5)
    assert torch.equal(rounded, encoder._positions(3, 5))


def test_blocks_that_are_computed_again_give_the_same_gradients():
    model, images = network(), pictures(42, 56)
    found = []
    for again in (False, True):
        model.backbone.set_grad_checkpointing(again)
        model.zero_grad(set_to_none=True)
        model.train()(images).square().sum().backward()
        found.append({name: one.grad for name, one in model.named_parameters() if one.grad is not None})
    for name, one in found[0].items():
        torch.testing.assert_close(one, found[1][name], msg=name)


def test_the_networks_keys_reach_it():
    made = build_model(
        ModelConfig(
            name="dinov2_dpt",
            size="tiny",
            weights="none",
            in_channels=1,
            drop_path=0.3,
            checkpointing=True,
            freeze=True,
        ),
        num_classes=2,
        seed=0,
    )
    assert made.input_spec.multiple == 14
    assert made.input_spec.bands == 1
    assert made.backbone.grad_checkpointing
    assert made.backbone.blocks[-1].drop_path1.drop_prob == pytest.approx(0.3)
    assert not any(one.requires_grad for one in made.backbone.parameters())
    assert made(torch.zeros(1, 1, 28, 28)).shape == (1, 2, 28, 28)
