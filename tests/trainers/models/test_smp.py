"""Networks of segmentation_models.pytorch and timm behind the model interface, against the libraries' own."""

import copy
import functools

import pytest
import torch

from trainers.models.build import build_model
from trainers.models.model_config import ModelConfig

smp = pytest.importorskip("segmentation_models_pytorch")
SLIM = {"decoder_intermediate_channels": [8, 8, 16, 16], "decoder_fusion_channels": 16}
KINDS = [("unet", "tu-test_resnet", {}), ("segformer", "tu-test_convnext", {}), ("dpt", "tu-test_vit", SLIM)]
FURTHER = [
    ("unetplusplus", "resnet18", {}),
    ("manet", "resnet18", {}),
    ("linknet", "resnet18", {}),
    ("fpn", "mit_b0", {}),
    ("pspnet", "resnet18", {}),
    ("deeplabv3", "tu-test_resnet", {}),
    ("deeplabv3plus", "resnet18", {}),
    ("pan", "resnet18", {}),
    ("upernet", "tu-swin_tiny_patch4_window7_224", {"img_size": 64}),
    ("unet", "tu-tf_efficientnet_lite0", {}),
    ("dpt", "tu-vit_small_patch16_dinov3", {"embed_dim": 48, "num_heads": 3, **SLIM}),
]
EVERY = [*KINDS, *(pytest.param(*one, marks=pytest.mark.slow) for one in FURTHER)]
FEW = [KINDS[0], KINDS[-1]]


def network(architecture, encoder, options=None, *, seed=0, **values):
    named = {"name": "smp", "weights": "none", "architecture": architecture, "encoder": encoder, **values}
    return copy.deepcopy(_built(ModelConfig(**named, options=options or {}).model_dump_json(), seed))


@functools.lru_cache(maxsize=4)
def _built(config, seed):
    return build_model(ModelConfig.model_validate_json(config), num_classes=4, seed=seed)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def theirs_with(model, architecture, encoder, options):
    """The library's own model with the weights of ours."""
    made = smp.create_model(architecture, encoder, encoder_weights=None, classes=4, **_open(encoder, options)).eval()
    made.encoder.load_state_dict(model.backbone.state_dict())
    made.decoder.load_state_dict(model.decoder.state_dict())
    head = made.segmentation_head.head if architecture == "dpt" else made.segmentation_head[0]
    head.load_state_dict(model.classify.state_dict())
    return made


def _open(encoder, options):
    if "swin" in encoder:
        return {**options, "strict_img_size": False}
    return {**options, "dynamic_img_size": True} if "vit" in encoder and "tu-" in encoder else options


@pytest.mark.parametrize(("architecture", "encoder", "options"), EVERY)
def test_logits_are_the_librarys_own(architecture, encoder, options):
    model = network(architecture, encoder, options).eval()
    images = drawn(2, 3, 128, 160)
    with torch.no_grad():
        expected = theirs_with(model, architecture, encoder, options)(images)
        torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model(images, features=True).logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("architecture", "encoder", "options"), EVERY)
def test_features_have_the_declared_channels_and_strides(architecture, encoder, options):
    model = network(architecture, encoder, options).eval()
    with torch.no_grad():
        seen = model(drawn(2, 3, 128, 128), features=True)
    streams = seen.maps[: len(model.stream_channels)]
    assert tuple(one.shape[1] for one in streams) == model.stream_channels
    assert all(len(one) == 2 for one in seen.maps)
    assert (seen.middle.shape[1], seen.high.shape[1]) == model.tap_channels
    assert seen.context.shape[1] == model.context_channels
    assert seen.fused.shape[1] == model.fused_channels
    assert seen.neck.shape[1] == model.neck_channels
    side = seen.coarse.shape[-1]
    assert side in (32, 16)
    assert seen.coarse.shape == (2, 4, side, side)
    assert seen.fused.shape[2:] == seen.neck.shape[2:] == (side, side)


@pytest.mark.parametrize(("architecture", "encoder", "options"), EVERY)
def test_feature_dropout_acts_on_the_encoders_maps_and_not_on_the_image(architecture, encoder, options):
    model = network(architecture, encoder, options).eval()
    images, other = drawn(2, 3, 128, 128), drawn(2, 3, 128, 128, seed=1)
    zeros = [torch.zeros(2, width, 1, 1) for width in model.stream_channels]
    ones = [torch.ones_like(keep) for keep in zeros]
    with torch.no_grad():
        plain, dropped = model(images, dropout=zeros)
        torch.testing.assert_close(plain, model(images))
        assert not torch.allclose(plain, dropped)
        torch.testing.assert_close(model(images, dropout=ones, plain=False), plain)
        if architecture != "dpt":  # whose class tokens are not dropped
            torch.testing.assert_close(dropped, model(other, dropout=zeros, plain=False))


@pytest.mark.parametrize(("architecture", "encoder", "options"), EVERY)
def test_images_of_other_sizes_are_padded_in_black_and_their_logits_cut(architecture, encoder, options):
    model = network(architecture, encoder, options).eval()
    spec = model.input_spec
    black = torch.tensor([-mean / std for mean, std in zip(spec.mean, spec.std, strict=True)])  # rounded once
    images = drawn(1, 3, 131, 150)
    height, width = (-(-side // spec.multiple) * spec.multiple for side in images.shape[2:])
    padded = black[:, None, None].expand(1, 3, height, width).clone()
    padded[..., :131, :150] = images
    with torch.no_grad():
        assert torch.equal(model(images), model(padded)[..., :131, :150])
        small = model(images[..., :20, :30])
    assert small.shape == (1, 4, 20, 30)


@pytest.mark.parametrize(("architecture", "encoder", "options"), EVERY)
def test_every_parameter_that_trains_gets_a_gradient(architecture, encoder, options):
    model = network(architecture, encoder, options)
    model(drawn(2, 3, 128, 128)).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_parameters_that_no_pass_reaches_are_frozen():
    assert sum(not one.requires_grad for one in network("pspnet", "resnet18").parameters()) == 30
    held = {name for name, one in network("dpt", "tu-test_vit", SLIM).named_parameters() if not one.requires_grad}
    assert held == {f"backbone.model.{part}.{kind}" for part in ("norm", "head") for kind in ("weight", "bias")}


@pytest.mark.parametrize(("architecture", "encoder", "options"), FEW)
def test_the_seed_fixes_the_weights_and_global_random_state_is_left_alone(architecture, encoder, options):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (network(architecture, encoder, options, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    same = [torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True)]
    assert all(same)
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


@pytest.mark.parametrize(("architecture", "encoder", "options"), FEW)
def test_another_networks_decoder_runs_on_the_maps_as_within_its_own_network(architecture, encoder, options):
    """UCC's second head, also on sizes that are padded."""
    model, other = (network(architecture, encoder, options, seed=seed).eval() for seed in (0, 1))
    whole = copy.deepcopy(other)
    whole.backbone = model.backbone
    other.backbone = torch.nn.Identity()
    images = drawn(1, 3, 70, 96)
    with torch.no_grad():
        torch.testing.assert_close(model.through(images, other), whole(images))


@pytest.mark.parametrize(("architecture", "encoder", "options"), FEW)
def test_a_network_is_randomised_whole(architecture, encoder, options):
    model = network(architecture, encoder, options)
    before = {name: value.clone() for name, value in model.named_parameters() if value.ndim > 1}
    torch.manual_seed(7)
    model.randomise()
    now = dict(model.named_parameters())
    assert not any(torch.equal(now[name], value) for name, value in before.items())


def test_a_network_of_one_band_takes_grey():
    model = network("unet", "resnet18", in_channels=1)
    assert model.input_spec.mean == (pytest.approx((0.485 + 0.456 + 0.406) / 3),)
    assert model(drawn(2, 1, 64, 64)).shape == (2, 4, 64, 64)


@pytest.mark.parametrize(
    ("encoder", "mean"),
    [
        ("tu-tf_efficientnet_lite0", (0.5, 0.5, 0.5)),
        ("tu-test_resnet", None),
        ("resnet18", (0.485, 0.456, 0.406)),
    ],
)
def test_normalisation_is_the_encoders(encoder, mean):
    import timm

    if mean is None:
        mean = tuple(timm.data.resolve_model_data_config(timm.create_model(encoder.removeprefix("tu-")))["mean"])
    assert network("unet", encoder).input_spec.mean == pytest.approx(mean)


def test_ones_own_mean_and_deviation_take_the_place_of_the_encoders():
    model = network("unet", "resnet18", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    assert (model.input_spec.mean, model.input_spec.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
