"""A synthetic study, logged with the real W&B client into offline files."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest


def dimension(kind, *, low=None, high=None, choices=None, only_if=None):
    return {"kind": kind, "low": low, "high": high, "step": None, "choices": choices, "only_if": only_if}


SPACE = {
    "interpixel.alpha": dimension("loguniform", low=0.01, high=10.0),
    "interpixel.distance": dimension("choice", choices=["kl", "cr"]),
    "interpixel.tau": dimension("uniform", low=0.0, high=0.98),
    "method.ema_decay": dimension("choice", choices=[0.99, 0.996], only_if={"interpixel.distance": "cr"}),
}
RUNGS, MAX_EPOCHS = [1, 3, 9], 9


def make_trials(count: int = 24, seed: int = 0):
    """Curves with a known truth: alpha matters, tau does nothing, KL is 2 points better."""
    rng = np.random.default_rng(seed)
    trials = []
    for number in range(count):
        values = {
            "interpixel.alpha": float(10 ** rng.uniform(-2, 1)),
            "interpixel.distance": str(rng.choice(["kl", "cr"])),
            "interpixel.tau": float(rng.uniform(0, 0.98)),
        }
        if values["interpixel.distance"] == "cr":
            values["method.ema_decay"] = float(rng.choice([0.99, 0.996]))
        top = 40 + 6 * np.log10(values["interpixel.alpha"]) + 2 * (values["interpixel.distance"] == "kl")
        epochs = [1, 3, 9][number % 3]
        state = "complete" if epochs == MAX_EPOCHS else "stopped"
        curve = {epoch: float(top * (1 - np.exp(-epoch / 2)) + rng.normal(0, 0.3)) for epoch in range(1, epochs + 1)}
        trials.append({"number": number, "values": values, "curve": curve, "state": state, "error": None})
    for trial in trials[4:5]:
        trial |= {"state": "failed", "error": "loss strong1 is NaN or infinite at step 7 (epoch 2)"}
    return trials


def config_of(trial, study="synthetic", seed=0):
    return {
        "schema_version": 1,
        "study": study,
        "trial": {"key": f"t{trial['number']:04d}", "number": trial["number"]},
        "search": trial["values"],
        "space": SPACE,
        "trainer": {"seed": seed, "data": {"holdout": {"images": 60, "source": "unlabelled", "seed": 0}}},
        "objective": {"metric": "val/miou", "mode": "max"},
        "scheduler": {"name": "asha", "grace_epochs": 1, "reduction": 3, "max_epochs": MAX_EPOCHS, "rungs": RUNGS},
        "classes": ["background", "zero"],
        "origin": {"split_hash": "abc123def456", "git_commit": "0" * 40, "versions": {}, "world_size": 1, "host": "h"},
    }


def log_trials(folder: Path, trials, *, study="synthetic", finish=True) -> None:
    """Write W&B's own offline files. `finish` returns some milliseconds before a run's end is on disk; only
    `teardown` waits for it."""
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    for trial in trials:
        run = wandb.init(
            project="test",
            id=f"{study}-t{trial['number']:04d}",
            group=study,
            job_type="search",
            dir=str(folder),
            mode="offline",
            reinit="create_new",
            config=config_of(trial, study, seed=trial.get("seed", 0)),
            settings=wandb.Settings(console="off", silent=True, x_disable_stats=True, x_disable_meta=True),
        )
        for epoch, score in trial["curve"].items():
            run.log({"epoch": epoch, "val/miou": score, "train/loss": 1 / epoch}, step=epoch)
        if finish:
            last = max(trial["curve"])
            run.summary.update(
                {
                    "state": trial["state"],
                    "error": trial["error"],
                    "retries": 0,
                    "epochs": last,
                    "objective": trial["curve"][last],
                }
            )
        run.finish()
    wandb.teardown()


def log_in_another_process(folder: Path, trials) -> None:
    """As `log_trials`; the client refuses a run id that its process has used before."""
    code = "import json, sys\nfrom pathlib import Path\nfrom tests.analysis.conftest import log_trials\n"
    code += "trials = json.loads(sys.argv[2])\nfor trial in trials:\n"
    code += "    trial['curve'] = {int(epoch): score for epoch, score in trial['curve'].items()}\n"
    code += "log_trials(Path(sys.argv[1]), trials)\n"
    root = Path(__file__).parents[2]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    subprocess.run([sys.executable, "-c", code, str(folder), json.dumps(trials)], check=True, cwd=root, env=clean)


@dataclass
class Undrawn:
    """Takes the place of `Figures` in tests of what a section says: figures are named and never drawn."""

    folder: Path

    def drawn(self, name, draw):
        return self.folder / f"{name}.svg"


@pytest.fixture
def figures(tmp_path):
    """Figures that are drawn."""
    from analysis.figures.render import Figures

    with Figures(tmp_path / "plots") as drawn:
        yield drawn


@pytest.fixture
def undrawn(tmp_path):
    """Figures that are not."""
    return Undrawn(tmp_path / "plots")


@pytest.fixture(scope="session")
def trials():
    return make_trials()


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """Makes a study's folder once for all processes that run the tests."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def made(name, make):
        place, done = root / name / "synthetic", root / f"{name}.done"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(place.parent, ignore_errors=True)
                make(place)
                done.touch()
        return place

    return made


@pytest.fixture(scope="session")
def study_dir(once, trials):
    """The folder of a finished study. Read it, change nothing."""
    return once("studies", lambda place: log_trials(place, trials))


@pytest.fixture(scope="session")
def built(study_dir, once):
    """The same, with its report, figures for print included. Read it, or copy it: change nothing."""
    from analysis.page.build import build

    def make(place):
        shutil.copytree(study_dir, place)
        (place / "ray").mkdir()
        (place / "ray" / "tuner.pkl").write_bytes(b"anything")
        build(place, printed=True)

    return once("built", make)


@pytest.fixture(scope="session")
def killed_dir(tmp_path_factory):
    """A study whose machine died a moment ago with its only run open, after three flushed epochs. W&B's own process
    dies first: it is in a session of its own, and one that outlives the client now and then logs the run's end."""
    folder = tmp_path_factory.mktemp("killed") / "synthetic"
    code = (
        "import os, signal, sys, time\nfrom pathlib import Path\nimport psutil\nimport wandb\n"
        "from tests.analysis.conftest import config_of, make_trials\n"
        "Path(sys.argv[1]).mkdir(parents=True)\n"
        "trial = make_trials()[2]\n"
        "run = wandb.init(project='test', id='synthetic-t0002', group='synthetic', job_type='search',\n"
        "    dir=sys.argv[1], mode='offline', config=config_of(trial), settings=wandb.Settings(console='off',\n"
        "    silent=True, x_transaction_log_flush_interval=0.2))\n"
        "for epoch in (1, 2, 3):\n"
        "    run.log({'epoch': epoch, 'val/miou': trial['curve'][epoch]}, step=epoch, commit=True)\n"
        "time.sleep(1.5)\nfor child in psutil.Process().children(recursive=True):\n    child.kill()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        start_new_session=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    return folder
