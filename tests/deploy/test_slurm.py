"""The Slurm script, run for real: Slurm's two commands are stand-ins that start the second node on this machine."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.deploy.test_deploy import DEPLOY

SRUN = """#!/usr/bin/env bash
while [[ $1 == --* ]]; do shift; done
exec "$@" --dashboard-agent-listen-port 0
"""
SCONTROL = """#!/usr/bin/env bash
printf '%s\\n' localhost second
"""


@pytest.fixture
def short_folder():
    """Ray's sockets lie below it, and their paths may have 107 characters."""
    folder = Path(tempfile.mkdtemp(prefix="slurm"))
    yield folder
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(folder) in (process / "cmdline").read_text():
                os.kill(int(process.name), signal.SIGKILL)
    shutil.rmtree(folder)


def command(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.mark.slow
def test_the_slurm_script_runs_a_study_on_two_nodes(short_folder):
    python = Path(sys.executable).parent
    command(short_folder / "bin" / "srun", SRUN)
    command(short_folder / "bin" / "scontrol", SCONTROL)
    settings = {
        "budget.trials": 2,
        "trainer.schedule.epochs": 2,
        "trainer.schedule.steps_per_epoch": 1,
        "trainer.data.train_scenes": 60,
        "trainer.data.holdout.images": 8,
        "scheduler.name": "none",
        "confirm.after_search": "false",
        "storage": short_folder,
    }
    script = (DEPLOY / "slurm.sh").read_text()
    script = script.replace("source .venv/bin/activate", ":")
    script = script.replace("search_spaces/voc.yaml", "search_spaces/digits.yaml")
    script = script.replace("--set storage=/shared/studies", " ".join(f"--set {k}={v}" for k, v in settings.items()))
    script = script.replace("--set trainer.data.root=/shared/VOC2012", "").replace("gpus_per_worker=1", "workers=1")
    log = short_folder / "log"
    ended = subprocess.run(
        ["bash", "-s"],
        input=script,
        text=True,
        cwd=DEPLOY.parent,
        env=os.environ
        | {
            "PATH": f"{short_folder / 'bin'}:{python}:{os.environ['PATH']}",
            "RAY_TMPDIR": str(short_folder),
            "SLURM_JOB_ID": str(os.getpid()),
            "SLURM_JOB_NODELIST": "two",
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_CPUS_PER_TASK": "1",
        },
        stdout=log.open("w"),
        stderr=subprocess.STDOUT,
        timeout=300,
    )
    assert ended.returncode == 0, log.read_text()
    assert len(list((short_folder / "digits" / "trials").iterdir())) == 2
