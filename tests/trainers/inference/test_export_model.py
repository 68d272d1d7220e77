"""A network as a program: by torch.export, and as ONNX."""

import json
import logging
from dataclasses import replace

import pytest
import torch

from ipix_tune.cli.exit_codes import run as command_line
from ipix_tune.cli.main import app
from trainers.common.errors import ConfigError
from trainers.inference import export
from trainers.inference.model import load_model


@pytest.fixture(autouse=True)
def _untraced(monkeypatch):
    """pytest asks every logger for everything, and torch.export then writes all that it thinks."""
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "disabled", True)


def call(*arguments):
    with pytest.raises(SystemExit) as caught:
        command_line(app, args=[*map(str, arguments)], prog_name="ipix-tune")
    return caught.value.code


def test_the_program_gives_the_networks_logits_at_batches_and_sizes_it_was_not_traced_with(
    run, model, tmp_path, capsys
):
    assert call("export-model", run, "--out", tmp_path / "m.pt2") == 0
    assert "takes any batch and size, RGB in 0 .. 1" in capsys.readouterr().out
    facts = {"model.json": ""}
    program = torch.export.load(tmp_path / "m.pt2", extra_files=facts)
    for shape in ((1, 33, 70), (5, 96, 48)):
        pixels = torch.randint(256, (shape[0], 3, *shape[1:]), dtype=torch.uint8)
        logits = program.module()(pixels / 255)
        assert torch.allclose(logits, model.network(model.normalise(pixels)), atol=1e-4)
    assert json.loads(facts["model.json"])["classes"] == list(model.classes)
    assert call("export-model", run, "--out", tmp_path / "m.pt2") == 2
    assert "is there already" in capsys.readouterr().err
    assert call("export-model", run, "--out", tmp_path / "m.onnx") == 2


@pytest.mark.slow
def test_a_program_that_computes_something_else_is_not_passed_off_as_the_network(run, tmp_path, monkeypatch):
    wrong, replaced = load_model(run), export._replace_upsampling

    def spoilt(module):
        replaced(module)
        if hasattr(module, "classify"):
            module.classify.bias.add_(0.01)

    monkeypatch.setattr(export, "_replace_upsampling", spoilt)
    with pytest.raises(ConfigError, match="not what the network computes"):
        export.export_model(wrong, tmp_path / "m.pt2")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_where_sizes_cannot_be_free_the_program_has_the_size_that_was_asked_for(run, tmp_path, monkeypatch):
    one_size, forward = load_model(run), export.Exportable.forward

    def rigid(self, images):
        return forward(self, images) + 0 * float(images.shape[-1])  # ends the tracing of free sizes

    monkeypatch.setattr(export.Exportable, "forward", rigid)
    found = export.export_model(one_size, tmp_path / "m.pt2", size=(40, 56))
    assert found.sizes == "any batch of 56 x 40 pixels"
    assert found.refused[0].startswith("not with any batch and size")
    assert torch.export.load(tmp_path / "m.pt2").module()(torch.rand(4, 3, 40, 56)).shape == (4, 11, 40, 56)
    with pytest.raises(ConfigError, match="multiples of 14"):
        export.export_model(replace(one_size, input_multiple=14), tmp_path / "n.pt2", size=(40, 56))


def test_without_the_packages_of_onnx_what_to_install_is_said(model, tmp_path, monkeypatch):
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'ipix-tune\[onnx\]'"):
        export.export_model(model, tmp_path / "m.pt2", onnx=tmp_path / "m.onnx")


@pytest.mark.slow
def test_the_onnx_file_gives_the_networks_logits_by_the_reference_evaluator(model, tmp_path):
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    found = export.export_model(model, tmp_path / "m.pt2", onnx=tmp_path / "m.onnx")
    assert len(found.checks) == 2
    loaded = onnx.load(str(tmp_path / "m.onnx"))
    onnx.checker.check_model(loaded, full_check=True)
    assert [one.name for one in (*loaded.graph.input, *loaded.graph.output)] == ["images", "logits"]
    pixels = torch.randint(256, (1, 3, 56, 40), dtype=torch.uint8)
    (logits,) = ReferenceEvaluator(loaded).run(None, {"images": (pixels / 255).numpy()})
    assert torch.allclose(torch.from_numpy(logits), model.network(model.normalise(pixels)), atol=1e-4)
    props = {one.key: one.value for one in loaded.metadata_props}
    assert json.loads(props["model.json"])["classes"] == list(model.classes)
