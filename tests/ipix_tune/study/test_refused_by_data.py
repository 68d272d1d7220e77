"""A study whose data cannot be read is refused before it begins: no trial is spent, and no resume is promised."""

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from ipix_tune.config.study_config import StudyConfig
from ipix_tune.study import run_search as studies
from trainers.common.errors import DataError


@pytest.fixture
def study(tmp_path):
    """Of eight images, of which six are unlabelled JPEG files."""
    rng, lines = np.random.default_rng(0), []
    for number in range(8):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3)).astype(np.uint8)).save(tmp_path / f"{number}.jpg")
        Image.fromarray(np.full((40, 50), number % 2, np.uint8)).save(tmp_path / f"mask-{number}.png")
        lines.append(f"{number}.jpg mask-{number}.png\n")
    (tmp_path / "labelled.txt").write_text("".join(lines[:4]))
    (tmp_path / "unlabelled.txt").write_text("".join(lines[4:]))
    data = {"name": "folder", "root": str(tmp_path), "num_classes": 2, "crop": 32, "batch_size": 2}
    data |= {"labelled": "labelled.txt", "unlabelled": "unlabelled.txt", "holdout": {"images": 2}}
    trainer = {
        "data": data,
        "method": {"name": "unimatch"},
        "model": {"backbone": "small", "weights": "none"},
        "views": {"cutmix_partner": "batch"},
    }
    return StudyConfig.model_validate(
        {
            "name": "refused",
            "trainer": trainer,
            "search": {"optim.lr": {"loguniform": [0.01, 0.2]}},
            "budget": {"trials": 4},
            "storage": str(tmp_path / "studies"),
        }
    )


def test_an_image_that_was_cut_off_spends_no_trial_and_leaves_no_study(study, tmp_path, capsys):
    path = tmp_path / "6.jpg"
    path.write_bytes(path.read_bytes()[:1000])
    begun = []
    with pytest.raises(DataError, match=r"6\.jpg: cannot be decoded, .*unlabelled\.txt:3"):
        studies.run(study, resume=False, address=None, console=Console(quiet=True), on_begun=lambda: begun.append(1))
    assert begun == []
    assert not (tmp_path / "studies").exists()
