"""The training command under torchrun, with two real processes."""

import os
import subprocess
import sys

import pytest

from tests.trainers.runs import rows, same_tensors, tensors, tiny
from trainers.common.yaml_file import dump

pytestmark = pytest.mark.slow


def torchrun(folder, *arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*command, "-m", "trainers.train", "cfg.yaml", *arguments], cwd=folder, capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_torchrun_trains_reports_once_refuses_a_second_time_and_resumes(tmp_path):
    config = tiny(schedule={"epochs": 2, "steps_per_epoch": 2}, data={"batch_size": 4})
    (tmp_path / "cfg.yaml").write_text(dump(config))
    done = torchrun(tmp_path, "--run-dir", "run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("1 seed (0), 2 epochs, 4 steps, split") == 1
    assert done.stdout.count("epoch 1/2") == 1
    curve, weights = rows(tmp_path / "run"), tensors(tmp_path / "run")

    again = torchrun(tmp_path, "--run-dir", "run")
    assert again.returncode != 0
    assert "run holds a run: go on with --resume" in again.stderr

    checkpoints = tmp_path / "run" / "checkpoints"
    (checkpoints / "last.pt").unlink()
    resumed = torchrun(tmp_path, "--run-dir", "run", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert rows(tmp_path / "run") == curve
    assert same_tensors(tensors(tmp_path / "run"), weights)


def test_a_batch_that_processes_cannot_share_is_told(tmp_path):
    (tmp_path / "cfg.yaml").write_text(dump(tiny(data={"batch_size": 3})))
    done = torchrun(tmp_path)
    assert done.returncode != 0
    assert "data.batch_size: 3 images cannot be shared equally by 2 processes; take a multiple of 2" in done.stderr
