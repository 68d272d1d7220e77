import pytest
import torch
import torchvision
from torch.nn import functional as F

from trainers.common.errors import CheckpointError, ConfigError
from trainers.models.build import build_model
from trainers.models.deeplabv3plus import Upsample
from trainers.models.model_config import ModelConfig


def model(classes=5, seed=0, **values):
    return build_model(ModelConfig(**{"weights": "none", **values}), num_classes=classes, seed=seed)


@pytest.mark.parametrize(("backbone", "millions"), [("resnet50", 40.5), ("resnet101", 59.5)])
def test_with_the_deep_stem_it_has_as_many_parameters_as_the_reference(backbone, millions):
    with torch.device("meta"):
        made = model(21, backbone=backbone, stem="deep")
    assert sum(parameter.numel() for parameter in made.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize("backbone", ["small", "resnet18", "resnet34", "resnet50", "resnet101"])
@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("stem", ["7x7", "deep"])
@pytest.mark.parametrize("upsample", ["bilinear", "nearest"])
def test_logits_have_the_size_of_the_image_and_features_their_strides(backbone, stride, stem, upsample):
    with torch.device("meta"):
        made = model(backbone=backbone, output_stride=stride, stem=stem, upsample=upsample)
        keep = tuple(torch.ones(2, channels, 1, 1) for channels in made.stream_channels)
        plain, dropped = made(torch.randn(2, 3, 65, 49), keep)
        low, high = made.backbone(torch.randn(2, 3, 64, 64))
    assert plain.shape == dropped.shape == (2, 5, 65, 49)
    assert low.shape == (2, made.stream_channels[0], 16, 16)
    assert high.shape == (2, made.stream_channels[1], 64 // stride, 64 // stride)


@pytest.mark.parametrize("backbone", ["small", "resnet18"])
@pytest.mark.parametrize("upsample", ["bilinear", "nearest"])
def test_a_training_step_reaches_every_parameter(backbone, upsample):
    made = model(backbone=backbone, upsample=upsample)
    keep = tuple(torch.ones(2, channels, 1, 1) for channels in made.stream_channels)
    plain, dropped = made(torch.randn(2, 3, 49, 33, generator=torch.Generator().manual_seed(0)), keep)
    (plain.square().mean() + dropped.square().mean()).backward()
    assert plain.shape == (2, 5, 49, 33)
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in made.parameters())


@pytest.mark.parametrize(("stride", "replaced"), [(16, [False, False, True]), (8, [False, True, True])])
def test_a_dilated_stage_sees_as_far_as_torchvisions(stride, replaced):
    ours = model(backbone="resnet50", output_stride=stride).backbone
    theirs = torchvision.models.resnet50(weights=None, replace_stride_with_dilation=replaced)
    theirs.load_state_dict({**ours.state_dict(), "fc.weight": theirs.fc.weight, "fc.bias": theirs.fc.bias})
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    ours.eval(), theirs.eval()
    with torch.no_grad():
        stem = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
        expected = theirs.layer4(theirs.layer3(theirs.layer2(theirs.layer1(stem))))
        torch.testing.assert_close(ours(images)[1], expected)


def test_training_on_a_single_image_is_refused_with_the_key_to_change():
    made, image = model(backbone="small"), torch.randn(1, 3, 32, 32)
    with pytest.raises(ConfigError, match=r"data.batch_size: .* at least 2"):
        made(image)
    assert made.eval()(image).shape == (1, 5, 32, 32)


def test_without_anything_dropped_both_streams_agree():
    made = model(backbone="small").eval()
    keep = tuple(torch.ones(2, channels, 1, 1) for channels in made.stream_channels)
    images = torch.randn(2, 3, 32, 32)
    plain, dropped = made(images, keep)
    torch.testing.assert_close(plain, dropped)
    torch.testing.assert_close(plain, made(images))


def test_dropped_channels_change_only_the_second_stream():
    made = model(backbone="small").eval()
    drop = tuple(torch.zeros(2, channels, 1, 1) for channels in made.stream_channels)
    images = torch.randn(2, 3, 32, 32)
    plain, dropped = made(images, drop)
    torch.testing.assert_close(plain, made(images))
    assert not torch.allclose(plain, dropped)


def test_the_seed_fixes_the_weights_and_global_random_state_is_left_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = model(backbone="small"), model(backbone="small"), model(backbone="small", seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.classify.weight, again.classify.weight)
    assert not torch.equal(first.classify.weight, other.classify.weight)


def test_weights_from_a_path_fill_the_backbone(tmp_path):
    source = torchvision.models.resnet18(weights=None)
    torch.save(source.state_dict(), tmp_path / "r18.pth")
    made = model(backbone="resnet18", weights=str(tmp_path / "r18.pth"))
    assert torch.equal(made.backbone.layer3[0].conv1.weight, source.layer3[0].conv1.weight)


def test_weights_of_another_architecture_are_refused_with_their_names(tmp_path):
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "r18.pth")
    with pytest.raises(CheckpointError, match=r"does not fit backbone resnet34.*missing: layer1.2"):
        model(backbone="resnet34", weights=str(tmp_path / "r18.pth"))


def test_weights_of_the_7x7_stem_do_not_fit_the_deep_one(tmp_path):
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "r18.pth")
    with pytest.raises(CheckpointError, match=r"stem deep: .*missing: conv1.0.weight.*unknown: conv1.weight"):
        model(backbone="resnet18", stem="deep", weights=str(tmp_path / "r18.pth"))


def test_a_deep_stem_state_dict_fits_the_deep_stem(tmp_path):
    source = model(backbone="resnet18", stem="deep", seed=3).backbone
    torch.save(source.state_dict(), tmp_path / "deep.pth")
    made = model(backbone="resnet18", stem="deep", weights=str(tmp_path / "deep.pth")).backbone
    assert torch.equal(made.conv1[0].weight, source.conv1[0].weight)


def test_weights_from_before_batch_norm_counted_its_steps_are_taken(tmp_path):
    source = torchvision.models.resnet18(weights=None)
    old = {name: value for name, value in source.state_dict().items() if "num_batches_tracked" not in name}
    torch.save(old, tmp_path / "old.pth")
    made = model(backbone="resnet18", weights=str(tmp_path / "old.pth"))
    assert torch.equal(made.backbone.conv1.weight, source.conv1.weight)
    assert int(made.backbone.bn1.num_batches_tracked) == 0


def in_torchs_cache(folder, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(folder))
    (folder / "hub" / "checkpoints").mkdir(parents=True)
    return folder / "hub" / "checkpoints" / "resnet18-f37072fd.pth"


def test_imagenet_weights_are_taken_from_torchs_cache(tmp_path, monkeypatch):
    source = torchvision.models.resnet18(weights=None)
    torch.save(source.state_dict(), in_torchs_cache(tmp_path, monkeypatch))
    made = model(backbone="resnet18", weights="imagenet")
    assert torch.equal(made.backbone.conv1.weight, source.conv1.weight)


def test_a_torn_file_in_torchs_cache_is_named(tmp_path, monkeypatch):
    in_torchs_cache(tmp_path, monkeypatch).write_bytes(b"half a file")
    with pytest.raises(CheckpointError, match=r"resnet18-f37072fd.pth: not a PyTorch state dict"):
        model(backbone="resnet18", weights="imagenet")


def test_a_damaged_weights_file_is_refused_by_its_path(tmp_path):
    (tmp_path / "bad.pth").write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match=r"bad.pth: not a PyTorch state dict"):
        model(backbone="resnet18", weights=str(tmp_path / "bad.pth"))


def test_a_missing_weights_file_says_what_is_allowed(tmp_path):
    with pytest.raises(ConfigError, match="no such file; allowed: imagenet, none, or the path"):
        model(backbone="resnet18", weights=str(tmp_path / "none.pth"))


@pytest.mark.parametrize(
    ("values", "message"),
    [({"backbone": "small"}, "set model.weights: none"), ({"backbone": "resnet50", "stem": "deep"}, "7x7 stem")],
)
def test_imagenet_weights_that_do_not_exist_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        model(**values, weights="imagenet")


def test_without_a_network_the_missing_file_and_the_ways_out_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr("urllib.request._opener", None)  # made once, with the proxies of that moment
    with pytest.raises(ConfigError) as caught:
        model(backbone="resnet18", weights="imagenet")
    assert str(tmp_path) in str(caught.value)
    assert "set model.weights: none" in str(caught.value)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize(
    ("before", "after"), [((1, 1), (9, 7)), ((9, 5), (33, 17)), ((16, 16), (64, 64)), ((3, 5), (7, 6))]
)
def test_upsampling_and_its_gradient_are_those_of_interpolate(mode, before, after, layout):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, *before, generator=generator, dtype=torch.float64)
    features = features.contiguous(memory_format=layout).requires_grad_()
    slope = torch.randn(2, 3, *after, generator=generator, dtype=torch.float64)
    ours = Upsample(mode)(features, after)
    expected = F.interpolate(features, size=after, mode=mode, align_corners=True if mode == "bilinear" else None)
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        *(torch.autograd.grad(y, features, slope)[0] for y in (ours, expected)), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_upsampling_under_autocast_rounds_no_more_than_float32_does(layout):
    features = torch.randn(2, 5, 9, 7).to(torch.bfloat16).contiguous(memory_format=layout)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = Upsample("bilinear")(features, (33, 41))
    expected = F.interpolate(features.double(), size=(33, 41), mode="bilinear", align_corners=True)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-5)
