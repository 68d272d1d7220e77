"""Overrides on the command line of a training."""

from pathlib import Path

import pytest

from trainers.cli.train import folder_of, load
from trainers.common.errors import ConfigError

TEXT = """\
data: {name: digits, crop: 32, batch_size: 2, holdout: {images: 4}}
method: {name: unimatch}
optim:
  lr: 0.1
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "cfg.yaml"
    path.write_text(TEXT)
    return path


def test_overrides_are_laid_over_the_file_the_last_one_on_top(file):
    config = load(file, ["optim.lr=1e-4", "model.backbone=small", "seed=1", "seed=2", "data.holdout={images: 3}"])
    assert (config.optim.lr, config.model.backbone, config.seed) == (1e-4, "small", 2)
    assert config.data.holdout is not None
    assert config.data.holdout.images == 3


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("optim.lrr=1", 'optim.lrr: unknown key; did you mean "lr"?'),
        ("optim.lr=fast", "optim.lr: Input should be a valid number"),
        ("optm.lr=1", 'optm: unknown key; did you mean "optim"?'),
        ("method.name=unimach", 'method.name: "unimach" is unknown; did you mean "unimatch"?'),
        ("data.holdout={imgs: 3}", 'data.holdout.imgs: unknown key; did you mean "images"?'),
        ("seed=", "seed: Input should be a valid integer"),
        ("optim.lr", "write --set dotted.key=value"),
        ("=3", "write --set dotted.key=value"),
        ("optim..lr=3", "write --set dotted.key=value"),
        ("seed=[1", "'[1' is not a YAML value"),
        ("data.holdout={images:[3]}", "'{images:[3]}' is not a YAML value; did you mean '{images: [3]}'?"),
    ],
)
def test_a_fault_in_an_override_is_told_of_the_override_and_not_of_a_line(file, override, fault):
    with pytest.raises(ConfigError) as caught:
        load(file, [override])
    assert f"--set {override}: {fault}" in str(caught.value)
    assert "cfg.yaml" not in str(caught.value)


def test_a_fault_in_the_file_keeps_its_line_beside_one_in_an_override(file):
    file.write_text(TEXT + "  momentum: 2\n")
    with pytest.raises(ConfigError) as caught:
        load(file, ["optim.lr=-1"])
    first, second = str(caught.value).splitlines()
    assert first.startswith("--set optim.lr=-1: optim.lr: ")
    assert second.startswith(f"{file}:5: optim.momentum: ")


def test_a_folder_in_object_storage_is_refused_and_its_keys_are_not_shown(file):
    with pytest.raises(ConfigError, match=r"--run-dir s3://bucket/run: a run writes into a folder"):
        folder_of("s3://key:secret@bucket/run", file=file, seed=0)


def test_a_run_without_a_folder_is_named_after_its_file_and_seed(file):
    assert folder_of(None, file=file, seed=3) == Path("runs/cfg-seed3")
