"""Runs the shell blocks of a page, command after command, in one shell in a checkout of its own.

Commands are run as they are written, but for the reader's own paths, hosts and GPUs (`PageShell.here`). What makes them
quick is smaller files: shipped studies, and the one that `ipix-tune init` writes, train for a few steps (`SMALL`), on
drawn images.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from ruamel.yaml import YAML

from tests.real_files import scene

ROOT = Path(__file__).parents[2]
IMAGES, MASKS = 60, 50
SMALL = {
    "budget": {"trials": 2},
    "resources": {"workers": 1, "cpus_per_worker": 1, "gpus_per_worker": 0},
    "scheduler": {"name": "none"},
    "trainer.schedule": {"epochs": 4, "steps_per_epoch": 1},
    "trainer.model": {"backbone": "small", "weights": "none"},
    "trainer.evaluation": {"every": 2},
    "trainer.data": {"crop": 32, "batch_size": 2, "loader_workers": 0, "holdout.images": 6},
    "confirm": {"first_seeds": 2, "max_seeds": 2},
}
LESS = {"voc": {"confirm": {"top": 1}}, "digits": {"trainer.data": {"train_scenes": 60}}}
BY_NAME = {"pip install -c constraints.txt -e .": "make test, which runs the same line in an empty environment"}
"""Commands that are not run, and what of CI runs them."""
BUSY, BUSY_TRIES = "the machine is too busy", 5
"""What a command says where Ray does not start within its 30 s, which is no fault of a page."""


def commands(page: Path) -> list[str]:
    """Every command of a page's shell blocks, without comments; a line that goes on is one command."""
    text = page.read_text(encoding="utf-8")
    found = []
    for block in re.findall(r"^ *```(?:sh|bash|console)\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            command = re.sub(r"(^|\s)#.*", "", line).strip()
            if command:
                found.append(re.sub(r"\s+", " ", command))
    return found


def checkout(folder: Path) -> Path:
    """A copy of what the repository has, with an environment in `.venv` that finds the packages of this one."""
    copy = folder / "checkout"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        if not name.startswith("tests/") and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", copy / ".venv"], check=True)
    (packages,) = (copy / ".venv" / "lib").glob("python3.*/site-packages")
    (packages / "others.pth").write_text(f"{copy}\n{sysconfig.get_path('purelib')}\n")
    _scripts(copy / ".venv" / "bin")
    (copy / ".venv" / ".demo").touch()  # what `make demo` leaves when it has installed
    for name in ("voc", "digits"):
        shrink(copy / "search_spaces" / f"{name}.yaml", LESS[name])
    _images(copy)
    _voc(folder / "VOC2012")
    return copy


def _scripts(folder: Path) -> None:
    """The commands that pages call by name."""
    own = {"ipix-tune": "ipix_tune.cli.main:main"}
    others = {one.name: one.value for one in entry_points(group="console_scripts") if one.name in ("ray", "torchrun")}
    for name, value in (own | others).items():
        module, _, function = value.partition(":")
        begins = f"#!{folder / 'python'}\nimport sys\nfrom {module} import {function}\n"
        text = f"{begins}if __name__ == '__main__':\n    sys.exit({function}())\n"  # processes are started from it too
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


def shrink(file: Path, less: Mapping[str, Mapping[str, Any]] = {}) -> None:
    """Make a study file one of a few steps, where it stands."""
    yaml = YAML()
    study = yaml.load(file)
    for section, values in [*SMALL.items(), *less.items()]:
        place = study
        for key in section.split("."):
            place = place.setdefault(key, {})
        for key, value in values.items():
            *sections, last = key.split(".")
            inner = place
            for one in sections:
                inner = inner.setdefault(one, {})
            inner[last] = value
    yaml.dump(study, file)


def _images(folder: Path) -> None:
    """`photos/` and `masks/`, as the README supposes them."""
    rng = np.random.default_rng(0)
    for name in ("photos", "masks"):
        (folder / name).mkdir()
    for number in range(IMAGES):
        pixels, classes = scene(rng, (40, 48))
        Image.fromarray(pixels).save(folder / "photos" / f"{number:03d}.jpg", quality=95)
        if number < MASKS:
            Image.fromarray(classes).save(folder / "masks" / f"{number:03d}.png")


def _voc(folder: Path) -> None:
    """A data set in the layout of Pascal VOC, with the lists that `voc.yaml` names."""
    rng = np.random.default_rng(0)
    pairs = [(f"JPEGImages/{number:04d}.jpg", f"SegmentationClass/{number:04d}.png") for number in range(24)]
    for image, mask in pairs:
        pixels, classes = scene(rng, (40, 48))
        for name, array in ((image, pixels), (mask, classes)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / name)
    lists = {"1_16/labeled": pairs[:6], "1_16/unlabeled": pairs[6:20], "val": pairs[20:]}
    for name, ones in lists.items():
        (folder / "splits" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "splits" / f"{name}.txt").write_text("".join(f"{image} {mask}\n" for image, mask in ones))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class PageShell:
    """One bash; what commands say is kept in `all_said.txt`; seconds and exit codes in `took.txt`."""

    def __init__(self, folder: Path, sockets: Path) -> None:
        self.folder, self.checkout = folder, checkout(folder)
        port = free_port()
        self._here = {
            "/data/VOC2012": str(folder / "VOC2012"),
            "/shared/VOC2012": str(folder / "VOC2012"),
            "/shared/studies": str(folder / "shared"),
            "HEAD:6379": f"127.0.0.1:{port}",
            "--port 6379": f"--port {port} --num-cpus 2 --dashboard-agent-listen-port 0",
            f"ray start --address 127.0.0.1:{port}": (
                f"ray start --address 127.0.0.1:{port} --num-cpus 2 --dashboard-agent-listen-port 0"
            ),
            "gpus_per_worker=1": "gpus_per_worker=0",
        }
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV", "RAY_ADDRESS")}
        environment |= {"RAY_TMPDIR": str(sockets), "OMP_NUM_THREADS": "1"}
        self._bash = subprocess.Popen(
            ["bash", "--norc"],
            cwd=self.checkout,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._said = folder / "said.txt"

    def close(self) -> None:
        self._bash.stdin.close()
        self._bash.wait()
        self._bash.stdout.close()

    def run(self, command: str) -> str:
        """Run one command of a page. Returns its exit code and the end of what it said, or "" where it ended well."""
        if command in BY_NAME:
            return ""
        if " init " in command:
            (self.checkout / "study.yaml").unlink(missing_ok=True)  # the page shows two ways to make it
            shutil.rmtree(self.checkout / "study-lists", ignore_errors=True)
        begun = time.monotonic()
        line = self.here(command)
        if "--resume" in command and not self._has_study(line):
            self._interrupted(line.replace(" --resume", ""))
        if "--live" in command:
            self._until_it_serves(line)
            code, said = 0, ""
        else:
            code, said = self._ask(line)
            for _ in range(BUSY_TRIES):
                if BUSY not in said:
                    break
                code, said = self._ask(line)
        if " init " in command and code == 0:
            shrink(self.checkout / "study.yaml")
        with (self.folder / "took.txt").open("a") as file:
            file.write(f"{time.monotonic() - begun:6.0f} s  {code:3d}  {command}\n")
        return "" if code == 0 else f"{line}: exit code {code}\n{said[-2000:]}"

    def here(self, command: str) -> str:
        """The command with what stands for the reader's own paths, hosts and GPUs."""
        for written, put in self._here.items():
            command = command.replace(written, put)
        if not (self.checkout / "runs" / "best-seed1").exists():  # the seeds of a final training are fresh ones
            first = next(iter(sorted((self.checkout / "runs").glob("best-seed*"))), Path("best-seed1"))
            command = command.replace("runs/best-seed1", f"runs/{first.name}")
        return command

    def _ask(self, line: str) -> tuple[int, str]:
        """Exit code of a command and what it said."""
        self._bash.stdin.write(f"{{ {line}\n}} >{self._said} 2>&1 </dev/null; echo $?\n")
        self._bash.stdin.flush()
        code, said = int(self._bash.stdout.readline()), self._said.read_text()
        with (self.folder / "all_said.txt").open("a") as file:
            file.write(f"$ {line}\n{said}\n")
        return code, said

    def _has_study(self, line: str) -> bool:
        name = Path(re.search(r"(\S+)\.yaml", line)[1]).name
        return (self.checkout / "studies" / name / "study.yaml").exists()

    def _interrupted(self, line: str) -> None:
        """The same study until it says how to go on, then Ctrl-C."""
        with self._beside(line, "go on with") as (process, _):
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=300) == 130

    def _until_it_serves(self, line: str) -> None:
        with self._beside(line, "http://") as (process, said):
            address = re.search(r"http://\S+\d", said.read_text())[0]
            with urllib.request.urlopen(f"{address}/") as page:
                assert "<html" in page.read().decode()
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=120) == 0

    @contextlib.contextmanager
    def _beside(self, line: str, word: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
        """The command as a process beside the shell, once it has said a word."""
        said = self.folder / "beside.txt"
        environment = os.environ | {"PATH": f"{self.checkout / '.venv' / 'bin'}:{os.environ['PATH']}"}
        environment = {k: v for k, v in environment.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV", "RAY_ADDRESS")}
        with said.open("wb") as out:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {line}"], cwd=self.checkout, env=environment, stdout=out, stderr=out
            )
        try:
            while word not in said.read_text():
                assert process.poll() is None, said.read_text()
                time.sleep(0.2)
            yield process, said
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
