"""What cannot be built or trained is refused before a step, with the reason and what to do."""

import pytest

from tests.trainers.runs import tiny
from trainers.common.errors import ConfigError
from trainers.loop.network_check import check_network
from trainers.loop.run import Run

pytest.importorskip("segmentation_models_pytorch")


def config(model, **sections):
    made = {
        "backbone": "resnet50",
        "name": "smp",
        "weights": "none",
        "architecture": "unet",
        "encoder": "tu-test_resnet",
    }
    return tiny(model={**made, **model}, **sections)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"encoder": "resnet19"}, r'not one of smp.s own encoders; did you mean "resnet1[80]1?"'),
        ({"encoder": "convnext_tiny"}, "timm has it: tu-convnext_tiny"),
        ({"encoder": "tu-resnet19"}, 'timm has no resnet19; did you mean "resnet18"'),
        ({"encoder": "tu-resnet18.nonsense"}, "no weights of that tag"),
        ({"encoder": "tu-test_vit"}, "set model.architecture: dpt"),
        ({"architecture": "dpt", "encoder": "resnet18"}, "dpt is for timm's vision transformers"),
        (
            {"architecture": "dpt", "encoder": "tu-vit_small_patch14_dinov2"},
            "patches of 16 pixels, this encoder has 14",
        ),
        ({"architecture": "linknet", "encoder": "mit_b0"}, "cannot be built on mit_b0"),
        ({"options": {"nonsense": 1}}, "look at model.options"),
        ({"options": {"in_channels": 4}}, "the trainer sets it"),
        ({"options": {"drop_path_rate": 0.1}}, "it is model.drop_path"),
        ({"dropout": 0.5}, "the decoder of unet has none"),
        ({"encoder": "resnet18", "drop_path": 0.1}, "no stochastic depth"),
        ({"encoder": "resnet18", "checkpointing": True}, "encoder resnet18 cannot; take one of timm's"),
    ],
)
def test_parts_that_do_not_go_together_are_refused_with_the_reason(model, message):
    with pytest.raises(ConfigError, match=message):
        check_network(config(model))


@pytest.mark.parametrize(
    ("model", "crop", "message"),
    [
        ({}, 33, "multiple of 32; set data.crop to 32 or 64"),
        ({}, 20, "multiple of 32; set data.crop to 32$"),
        ({"architecture": "pan"}, 64, "multiple of 16 and at least 128; set data.crop to 128"),
        ({"architecture": "pan"}, 321, "set data.crop to 320 or 336"),
        ({"architecture": "dpt", "encoder": "tu-test_vit"}, 48, "multiple of 32; set data.crop to 32 or 64"),
    ],
)
def test_a_crop_that_the_encoder_does_not_take_is_refused_with_the_nearest(model, crop, message):
    with pytest.raises(ConfigError, match=message):
        check_network(config(model, data={"crop": crop}))


def test_a_run_refuses_such_a_crop_too(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.crop = 33: unet on tu-test_resnet takes crops"):
        Run(config({}, data={"crop": 33}), tmp_path)


def test_a_single_image_is_refused_for_decoders_that_pool_it():
    single = {"data": {"batch_size": 2}, "optim": {"accumulate": 2}}
    with pytest.raises(ConfigError, match="a process needs 2 or more images"):
        check_network(config({"architecture": "deeplabv3plus"}, **single))
    check_network(config({}, **single))
    with pytest.raises(ConfigError, match="a process needs 2 or more images"):
        check_network(config({"architecture": "upernet"}, optim={"batch_norm": "device"}), world=2)
    check_network(config({"architecture": "upernet"}), world=2)


def test_a_transformer_of_one_size_is_refused_with_other_crops_and_whole_images():
    fixed = {"architecture": "dpt", "encoder": "tu-beit_base_patch16_224"}
    fixed["options"] = {"embed_dim": 48, "num_heads": 3, "decoder_intermediate_channels": [8, 8, 8, 8]}
    with pytest.raises(ConfigError, match=r"224 x 224 pixels alone; set data\.crop: 224"):
        check_network(config(fixed, data={"crop": 256}))
    with pytest.raises(ConfigError, match=r"set evaluation\.mode: sliding"):
        check_network(config(fixed, data={"crop": 224}))
    check_network(config(fixed, data={"crop": 224}, evaluation={"mode": "sliding"}))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"mean": [0.5, 0.5, 0.5]}, "give mean and std together"),
        ({"mean": [0.5], "std": [0.5]}, "mean has 1 values, one for each of 3 bands"),
        ({"in_channels": 4}, "give mean and std with 4 values each"),
    ],
)
def test_bands_and_their_means_go_together(model, message):
    with pytest.raises(ValueError, match=message):
        config(model)
