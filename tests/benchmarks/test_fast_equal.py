"""Fast and plain path without the noise of a training: the losses of the first step, all terms on."""

import json
import subprocess
import sys

import pytest

CODE = """
import sys
from pathlib import Path
from benchmarks.fast_equal import CONFIG
from benchmarks.helpers.step_plain import OPTIMISATIONS, switch_off
from trainers.loop.fit import fit
from trainers.cli.train import load
off = sys.argv[2:]
switch_off([name for name in OPTIMISATIONS if name in off])
changes = ["schedule.epochs=1", "schedule.steps_per_epoch=1", "evaluation.final=false", "method.conf_thresh=0"]
changes += ["interpixel.warmup_fraction=0", "interpixel.tau=0"]
changes += [f"precision.channels_last={'channels_last' not in off}".lower()]
fit(load(CONFIG, changes), Path(sys.argv[1]))
"""


def losses(folder, off):
    subprocess.run([sys.executable, "-c", CODE, str(folder), *off], check=True)
    row = json.loads((folder / "metrics.jsonl").read_text())
    return {name: value for name, value in row.items() if name.startswith("train/loss")}


@pytest.fixture(scope="module")
def fast(tmp_path_factory):
    return losses(tmp_path_factory.mktemp("fast"), [])


@pytest.mark.slow
def test_without_the_resize_of_crops_every_loss_of_a_step_is_the_plain_paths(fast, tmp_path):
    from benchmarks.helpers.step_plain import OPTIMISATIONS

    plain = losses(tmp_path, [name for name in OPTIMISATIONS if name != "cropped resize"])
    assert min(fast.values()) > 0
    assert plain == pytest.approx(fast, rel=1e-4)


@pytest.mark.slow
def test_the_resize_of_crops_moves_a_loss_by_the_rounding_of_pixels(fast, tmp_path):
    plain = losses(tmp_path, ["cropped resize"])
    assert plain != fast
    assert plain == pytest.approx(fast, rel=1e-2)
