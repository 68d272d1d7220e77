"""The wheel works where there is no checkout: shipped studies and presets are in it, and are found by name."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.real_files import scene

ROOT = Path(__file__).parents[2]
PARTS = ("trainers", "ipix_tune", "analysis", "presets", "search_spaces")
FILES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
STUDY = """
name: mine
trainer:
  base: presets/unified.yaml
  data: {name: digits, crop: 32, batch_size: 2, holdout: {images: 60}}
  method: {name: fixmatch}
  model: {backbone: small, weights: random}
search:
  optim.lr: {loguniform: [1.0e-4, 1.0e-2]}
scheduler: {name: none}
budget: {trials: 2}
"""


def run(command, folder, *, code=0):
    """What a command said, without what leads to this checkout."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([*map(str, command)], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """`bin` of an environment that holds the wheel, and the packages of this one without the checkout."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    for part in PARTS:
        shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, source / name)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", place, source], place)
    run([sys.executable, "-m", "venv", "--without-pip", place / "venv"], place)
    python = place / "venv" / "bin" / "python"
    run([*pip, "--python", python, "install", "--no-deps", "--no-index", next(place.glob("*.whl"))], place)
    own = run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], place).strip()
    (Path(own) / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.parent


@pytest.mark.slow
def test_a_shipped_study_is_found_by_name_from_an_empty_folder(installed, tmp_path):
    assert "study voc is valid" in run([installed / "ipix-tune", "validate", "voc.yaml"], tmp_path)


@pytest.mark.slow
def test_a_study_of_ones_own_stands_on_a_shipped_preset(installed, tmp_path):
    (tmp_path / "mine.yaml").write_text(STUDY)
    assert "study mine is valid" in run([installed / "ipix-tune", "validate", "mine.yaml"], tmp_path)


@pytest.mark.slow
def test_a_shipped_study_is_swept_by_name(installed, tmp_path):
    """As far as needs no Ray."""
    said = run([installed / "ipix-tune", "sweep", "voc.yaml", "--resume"], tmp_path, code=2)
    assert "studies/voc: there is no study to resume" in said


@pytest.mark.slow
def test_a_first_study_of_ones_own_images_is_valid(installed, tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("photos", "masks"):
        (tmp_path / folder).mkdir()
    for number in range(16):
        pixels, classes = scene(rng, (40, 48))
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
        Image.fromarray(classes).save(tmp_path / "masks" / f"{number}.png")
    run([installed / "ipix-tune", "init", "--images", "photos", "--masks", "masks", "--labelled", "8"], tmp_path)
    assert "is valid" in run([installed / "ipix-tune", "validate", "study.yaml"], tmp_path)


@pytest.mark.slow
def test_what_runs_is_the_wheel(installed, tmp_path):
    where = run([installed / "python", "-c", "import trainers; print(trainers.__file__)"], tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)
