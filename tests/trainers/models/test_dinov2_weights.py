"""Where DINOv2's weights come from, and that none are passed over in silence."""

import pytest
import torch
from safetensors.torch import save_file

from trainers.common.errors import CheckpointError, ConfigError
from trainers.models.dinov2 import SHAPES, DinoV2
from trainers.models.dinov2_weights import load_dinov2


def encoder():
    return DinoV2(SHAPES["tiny"])


@pytest.fixture
def original():
    """A state dict under the names of the original files, and of other values than an encoder begins with."""
    made = {name: torch.randn(value.shape) for name, value in encoder().state_dict().items()}
    return made | {"mask_token": torch.zeros(1, SHAPES["tiny"].width)}


def same(one, state):
    return all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


def test_an_original_file_fills_every_tensor(original, tmp_path):
    torch.save(original, tmp_path / "dinov2.pth")
    made = encoder()
    load_dinov2(made, size="tiny", weights=str(tmp_path / "dinov2.pth"))
    assert same(made, original)


def test_an_encoder_of_one_band_gets_the_sum_over_the_three_bands(original, tmp_path):
    torch.save(original, tmp_path / "dinov2.pth")
    grey = DinoV2(SHAPES["tiny"], in_channels=1)
    load_dinov2(grey, size="tiny", weights=str(tmp_path / "dinov2.pth"))
    image = torch.randn(1, 1, 28, 42, generator=torch.Generator().manual_seed(0))
    colour = encoder()
    load_dinov2(colour, size="tiny", weights=str(tmp_path / "dinov2.pth"))
    torch.testing.assert_close(grey.maps(image)[3], colour.maps(image.expand(-1, 3, -1, -1))[3], rtol=1e-3, atol=1e-4)


def test_timms_file_fills_every_tensor_from_the_hubs_cache(original, tmp_path, monkeypatch):
    del original["mask_token"]
    folder = tmp_path / "models--timm--vit_small_patch14_dinov2.lvd142m"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("a1")
    (folder / "snapshots" / "a1").mkdir(parents=True)
    save_file(original, folder / "snapshots" / "a1" / "model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    made = encoder()
    load_dinov2(made, size="small", weights="imagenet")
    assert same(made, original)


def test_where_the_hub_cannot_be_reached_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="HF_HOME or HF_HUB_CACHE") as caught:
        load_dinov2(encoder(), size="base", weights="imagenet")
    assert str(tmp_path / "models--timm--vit_base_patch14_dinov2.lvd142m") in str(caught.value)
    assert "dinov2_vitb14_pretrain.pth" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: {f"module.{name}": value for name, value in state.items()}, "missing: blocks.0"),
        (lambda state: {name: value for name, value in state.items() if name != "norm.weight"}, "missing: norm.weight"),
        (lambda state: state | {"register_tokens": torch.zeros(1, 4, 32)}, "unknown: register_tokens"),
        (lambda state: state | {"pos_embed": torch.zeros(1, 5, 32)}, "of another shape: pos_embed"),
    ],
)
def test_a_file_that_does_not_fit_in_full_is_refused_and_nothing_of_it_is_loaded(change, said, original, tmp_path):
    torch.save(change(original), tmp_path / "other.pth")
    made = encoder()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    with pytest.raises(CheckpointError, match=said):
        load_dinov2(made, size="tiny", weights=str(tmp_path / "other.pth"))
    assert same(made, before)


@pytest.mark.parametrize(
    ("weights", "said"),
    [("imagenet", "none for model.size tiny"), ("dinov2", "allowed: imagenet, none"), ("gone.pth", "no such file")],
)
def test_weights_that_there_are_not_are_refused_with_what_is_allowed(weights, said):
    with pytest.raises(ConfigError, match=said):
        load_dinov2(encoder(), size="tiny", weights=weights)
