"""Networks of smp as programs: what torch.export and ONNX compute is what the network does."""

import dataclasses
import logging

import pytest
import torch

from trainers.inference.export import export_model
from trainers.inference.model import load_model
from trainers.models.build import build_model
from trainers.models.model_config import ModelConfig

pytest.importorskip("segmentation_models_pytorch")
SLIM = {"decoder_intermediate_channels": [8, 8, 16, 16], "decoder_fusion_channels": 16}
NETWORKS = {
    "unet": {
        "architecture": "unet",
        "encoder": "tu-test_efficientnet",
        "options": {"decoder_channels": [16, 16, 8, 8, 8]},
    },
    "dpt": {"architecture": "dpt", "encoder": "tu-test_vit", "options": SLIM},
}


@pytest.fixture(autouse=True)
def _untraced(monkeypatch):
    """pytest asks every logger for everything, and torch.export then writes all that it thinks."""
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "disabled", True)


def loaded(run, kind):
    """The run's model with another network in it, whose batch statistics are not those of initialisation."""
    config = ModelConfig.model_validate({"name": "smp", "weights": "none"} | NETWORKS[kind])
    network = build_model(config, num_classes=11, seed=0).train()
    side = 2 * max(32, network.input_spec.multiple)
    with torch.no_grad():
        network(torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(0)))
    spec = network.input_spec
    return dataclasses.replace(
        load_model(run, device="cpu"),
        network=network.eval().requires_grad_(False),
        mean=spec.mean,
        std=spec.std,
        input_multiple=spec.multiple,
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_program_of_another_network_gives_its_logits(kind, run, tmp_path):
    onnx = pytest.importorskip("onnx")
    model = loaded(run, kind)
    paths = tmp_path / "m.pt2", tmp_path / "m.onnx"
    found = export_model(model, paths[0], onnx=paths[1])
    assert len(found.checks) == 2
    assert found.sizes.startswith("any batch, and sides that are multiples of 32")
    program = torch.export.load(paths[0]).module()
    least = 2 if "from 64 on" in found.sizes else 1
    sides = (32 * least, 32 * (least + 1))
    pixels = torch.randint(256, (1, 3, *sides), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    expected = model.network(model.normalise(pixels))
    assert torch.allclose(program(pixels / 255), expected, atol=1e-4 * float(expected.abs().max()))
    from onnx.reference import ReferenceEvaluator

    (logits,) = ReferenceEvaluator(onnx.load(str(paths[1]))).run(None, {"images": (pixels / 255).numpy()})
    assert torch.allclose(torch.from_numpy(logits), expected, atol=1e-4 * float(expected.abs().max()))
