"""The stages `tests` and `methods` of `benchmarks.gpu`: does everything run on the device?"""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.helpers.gpu_measure import Asked, Row, attempt, host_waits, synchronise
from benchmarks.helpers.method_settings import ALL_ON


def tests(asked: Asked) -> Iterator[Row]:
    """The tests marked `gpu`, from the files that have any: others need packages that may not be here."""
    marked = [path for path in sorted(Path("tests").rglob("test_*.py")) if "pytest.mark.gpu" in path.read_text()]
    for path in marked:

        def run(path: Path = path) -> Row:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", str(path)],
                capture_output=True,
                text=True,
            )
            sys.stderr.write(done.stdout[-4000:] if done.returncode else "")
            counted = (done.stdout.strip().splitlines() or [done.stderr[-200:]])[-1].strip("= ")
            return {"result": counted} if done.returncode == 0 else {"failed": counted}

        yield attempt(str(path), run)


def methods(asked: Asked) -> Iterator[Row]:
    """Every method, deterministic and in bf16: a short training, then one step's time and host waits."""
    from tests.trainers.methods.test_every_method import config
    from trainers.loop.epoch_scores import evaluate_epoch
    from trainers.loop.fit import fit, numerics
    from trainers.loop.run import Run

    def run(name: str) -> Row:
        precision = {"amp": "bf16", "device": asked.device, "deterministic": True}
        made = config(name, precision=precision, schedule={"epochs": 1, "steps_per_epoch": 2})
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            fit(made, Path(folder) / "whole")
            whole = time.perf_counter() - begun
            made = config(name, precision=precision, schedule={"epochs": 1, "steps_per_epoch": 5})
            with numerics(made.precision), contextlib.closing(Run(made, Path(folder) / "steps")) as one:
                batches = list(one.loader.epoch(0))
                timed, waits = _timed(asked, one, batches)
                begun = time.perf_counter()
                one.run_dir.mkdir(exist_ok=True)
                evaluate_epoch(one, 1)
                evaluation = time.perf_counter() - begun
        return {"whole_s": whole, "ms": 1000 * timed, "waits": waits, "evaluation_s": evaluation}

    for name in asked.only or ALL_ON:
        yield attempt(name, lambda name=name: run(name))  # type: ignore[misc]


def _timed(asked: Asked, run: Any, batches: list[Any]) -> tuple[float, int | None]:
    """Seconds of the last but one step, and the host's waits in the last."""
    from trainers.loop.step_means import StepMeans

    step_means = StepMeans(run.process)
    for batch in batches[:-2]:
        run.train_step(batch, step_means)
    synchronise(asked)
    begun = time.perf_counter()
    run.train_step(batches[-2], step_means)
    synchronise(asked)
    seconds = time.perf_counter() - begun
    return seconds, host_waits(asked, lambda: run.train_step(batches[-1], step_means))
