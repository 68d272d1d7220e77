"""The Slurm script, run for real: Slurm's two commands are stand-ins that start the second node on this machine."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.deploy.test_deploy import DEPLOY

SRUN = """#!/usr/bin/env bash
while [[ $1 == --* ]]; do shift; done
exec "$@" --dashboard-agent-listen-port 0
"""
DIGITS = "search_spaces/digits.yaml"
SAYS = """#!/usr/bin/env bash
if [[ $0 != */python || $1 == -m ]]; then echo "${0##*/} $*"; fi
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
    }
    given = " ".join(f"--set {key}={value}" for key, value in settings.items())
    script = (DEPLOY / "slurm.sh").read_text()
    for line, here in {
        "source .venv/bin/activate": ":",
        "search_spaces/voc.yaml studies=/shared/studies name=voc": f"{DIGITS} studies={short_folder} name=digits",
        "--set trainer.data.root=/shared/VOC2012": given,
        "gpus_per_worker=1": "workers=1",
    }.items():
        assert line in script
        script = script.replace(line, here)
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


@pytest.fixture
def started(tmp_path):
    """What the script starts, a line a command: Slurm, Ray and our own commands are stand-ins that say their words."""
    for name in ("srun", "ray", "python", "ipix-tune", "timeout", "apptainer"):
        command(tmp_path / "bin" / name, SAYS)
    command(tmp_path / "bin" / "scontrol", SCONTROL)
    script = (DEPLOY / "slurm.sh").read_text().replace("source .venv/bin/activate", ":")
    environment = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NODELIST": "two",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "32",
    }

    def start(*words, gpus=(("SLURM_GPUS_PER_NODE", "4"),), container=""):
        here = script.replace("studies=/shared/studies", f"studies={tmp_path}")
        here = here.replace("container=()", f"container=({container})")
        shell = ["bash", "-s", "--", *words]
        ended = subprocess.run(
            shell, input=here, text=True, env=environment | dict(gpus), capture_output=True, check=True
        )
        return ended.stdout.splitlines()

    return start


def study_command(lines):
    """What runs the study: the steps of the other nodes run beside it, and may print later."""
    (found,) = (line for line in lines if line.startswith(("ipix-tune ", "python -m ipix_tune.sweep")))
    return found


def test_a_step_asks_for_the_gpus_that_the_job_asked_for(started):
    (step,) = (line for line in started() if line.startswith("srun"))
    assert "--gpus-per-node=4" in step.split()


def test_a_step_asks_for_the_gpus_of_a_job_that_asked_by_gres(started):
    (step,) = (line for line in started(gpus=[("SLURM_GPUS_ON_NODE", "4")]) if line.startswith("srun"))
    assert "--gres=gpu:4" in step.split()


def test_a_job_without_gpus_asks_for_none(started):
    (step,) = (line for line in started(gpus=()) if line.startswith("srun"))
    assert "gpu" not in step


def test_a_container_runs_ray_and_the_study(started):
    said = started("confirm", container="apptainer exec --nv ipix-tune.sif")
    begins = "apptainer exec --nv ipix-tune.sif"
    assert f"{begins} ray start --head --block --port 20001 --num-cpus 32" in said
    assert sum(line.startswith("srun") and f"{begins} ray start --block" in line for line in said) == 1
    assert sum(line.startswith(f"{begins} ipix-tune confirm ") for line in said) == 1


def test_a_second_submission_resumes_the_study(started, tmp_path):
    assert "--resume" not in study_command(started())
    (tmp_path / "voc").mkdir()
    (tmp_path / "voc" / "study.yaml").touch()
    assert "--resume" in study_command(started()).split()


def test_the_word_confirm_runs_the_confirmation_on_the_same_cluster(started, tmp_path):
    last = study_command(started("confirm", "--more-seeds", "3"))
    assert last.startswith(f"ipix-tune confirm {tmp_path}/voc --more-seeds 3")
    assert last.endswith("--address localhost:20001")


def test_further_words_go_to_the_sweep(started):
    assert "--set budget.trials=200 --address" in study_command(started("--set", "budget.trials=200"))


def test_a_node_has_cpus_for_a_trial_on_each_gpu():
    """Beside the driver's, which run on the first node."""
    asked = re.search(r"--gpus-per-node=(\d+) --cpus-per-task=(\d+)", (DEPLOY / "slurm.sh").read_text())
    gpus, cpus = map(int, asked.groups())
    each = YAML(typ="safe").load((DEPLOY.parent / "search_spaces" / "voc.yaml").read_text())["resources"]
    assert gpus * each["cpus_per_worker"] + 2 <= cpus
