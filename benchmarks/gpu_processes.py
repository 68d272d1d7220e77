"""The stage `processes` of `benchmarks.gpu`: every method for two steps on several processes against one, and what
batch norm over all processes costs. NCCL on GPUs, gloo in the rehearsal on a CPU. **Never run on GPUs.**

Torchrun starts this module; process 0 prints the rows.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.helpers.gpu_measure import Asked, attempt, cached, per_step, training
from benchmarks.helpers.method_settings import ALL_ON

STEPS = 2
LARGEST = 1e-6
"""Of a difference in float64, relative to what the steps changed."""


def rows(asked: Asked) -> Iterator[dict[str, Any]]:
    """Each method's largest difference, then steps with and without batch norm over all processes."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(asked.nproc)]
    with tempfile.TemporaryDirectory() as folder:
        given = [json.dumps(vars(asked)), folder]
        for command in (
            [sys.executable, "-m", "benchmarks.gpu_processes", "alone", *given],
            [*torchrun, "-m", "benchmarks.gpu_processes", "methods", *given],
            [*torchrun, "-m", "benchmarks.gpu_processes", "batch_norm", *given],
        ):
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    if line.startswith("{"):
                        yield json.loads(line)
            if process.returncode:
                yield {"name": command[-3], "failed": f"exit code {process.returncode}; its last words are above"}


def _trained(asked: Asked, name: str, folder: Path) -> Any:
    from tests.trainers.methods.test_two_processes_train import trained

    sections = {"precision": {"device": asked.device}}
    return trained(name, folder, sections, images=2 * asked.nproc, steps=STEPS)


def _names(asked: Asked) -> list[str]:

    return list(asked.only or ALL_ON)


def alone(asked: Asked, folder: Path) -> None:
    """What one process holds after the steps, in a file for each method."""
    import torch

    for name in _names(asked):
        torch.save(_trained(asked, name, folder / "alone"), folder / f"{name}.pt")


def methods(asked: Asked, folder: Path) -> None:
    """Weights, teachers, buffers and optimisers of every process against :func:`alone`'s."""
    import torch
    import torch.distributed as dist

    from tests.trainers.methods.test_two_processes_train import apart

    for name in _names(asked):
        mine = _trained(asked, name, folder / "together")
        worst = max(apart(torch.load(folder / f"{name}.pt"), mine).values())
        differences: list[float | None] = [None] * dist.get_world_size()
        dist.all_gather_object(differences, worst)
        largest = max(one for one in differences if one is not None)
        row: dict[str, Any] = {"name": name, "processes": asked.nproc, "difference": largest}
        if largest > LARGEST:
            row["failed"] = f"above {LARGEST:.0e}"
        _say(row)


def batch_norm(asked: Asked, folder: Path) -> None:
    """UniMatch's step with batch norm over all processes and over each one's own images, by images a process."""
    for each in (1, 4) if asked.cpu else (1, 8):
        for over, label in (("global", "all processes"), ("device", "its own")):

            def run(each: int = each, over: str = over) -> dict[str, Any]:
                with training(asked, batch=each * asked.nproc, batch_norm=over) as one:
                    return per_step(asked, one, cached(one), steps=2 if asked.cpu else 15)

            row = attempt(f"UniMatch, {each} + {each} images a process, batch norm over {label}", run)
            _say({"processes": asked.nproc, **row})


def _say(row: dict[str, Any]) -> None:
    import torch.distributed as dist

    if dist.get_rank() == 0:
        print(json.dumps(row), flush=True)


def main() -> None:
    from tests.trainers.runs import tiny
    from trainers.cli.train import process_group

    work, given, folder = sys.argv[1:]
    asked = Asked(**json.loads(given))
    with process_group(tiny(precision={"device": asked.device})):
        {"alone": alone, "methods": methods, "batch_norm": batch_norm}[work](asked, Path(folder))


if __name__ == "__main__":
    main()
