"""The stages of `benchmarks.gpu`, each a generator of rows; one runs in this process, and its rows are kept as they
come. What fails is a row too, and the next item goes on."""

import os

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before the first product: PyTorch looks once

import contextlib
import itertools
import json
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A stage and its settings, as `benchmarks.gpu` gives them."""

    stage: str
    cpu: bool
    unimatch: str
    only: list[str]
    nproc: int
    seconds: float

    @property
    def device(self) -> str:
        return "cpu" if self.cpu else "cuda"


def attempt(name: str, work: Callable[[], Row]) -> Row:
    """What ``work`` measures under its name, or why it could not."""
    try:
        return {"name": name, **work()}
    except Exception as error:
        traceback.print_exc()
        return {"name": name, "failed": f"{type(error).__name__}: {str(error)[:300]}"}


def synchronise(asked: Asked) -> None:
    if not asked.cpu:
        import torch

        torch.cuda.synchronize()


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
    from tests.trainers.test_every_method import METHODS, config
    from trainers.fit import fit, numerics
    from trainers.run import Run
    from trainers.scoring import evaluate_epoch

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

    for name in asked.only or METHODS:
        yield attempt(name, lambda name=name: run(name))  # type: ignore[misc]


def _timed(asked: Asked, run: Any, batches: list[Any]) -> tuple[float, int | None]:
    """Seconds of the last but one step, and the host's waits in the last."""
    from trainers.tally import Tally

    tally = Tally(run.process)
    for batch in batches[:-2]:
        run.train_step(batch, tally)
    synchronise(asked)
    begun = time.perf_counter()
    run.train_step(batches[-2], tally)
    synchronise(asked)
    seconds = time.perf_counter() - begun
    return seconds, host_waits(asked, lambda: run.train_step(batches[-1], tally))


def host_waits(asked: Asked, work: Callable[[], object]) -> int | None:
    """How often the host waits for the GPU, by PyTorch's own warnings; None on a CPU."""
    import torch

    if asked.cpu:
        work()
        return None
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(one.message) for one in seen)


def side(asked: Asked, **changes: Any) -> Any:
    """Our side of a comparison, in the sizes of this run."""
    from benchmarks.step import folder_of_images
    from benchmarks.step_turns import Side

    sizes = {"crop": 65, "batch": 2, "backbone": "small"} if asked.cpu else {
        "crop": 321, "batch": 8, "backbone": "resnet50"
    }  # fmt: skip
    settings = {"kind": "ours", "precision": "bf16", "workers": 0, "threads": 1, "off": ("deterministic",)}
    return Side(**{**sizes, **settings, "data": str(folder_of_images()), "device": asked.device, **changes})


@contextlib.contextmanager
def training(asked: Asked, **changes: Any) -> Iterator[Any]:
    """A run of :func:`side`."""
    from benchmarks.step_side import config_of
    from trainers.fit import numerics
    from trainers.run import Run

    config = config_of(side(asked, **changes))
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(numerics(config.precision))
        yield stack.enter_context(contextlib.closing(Run(config, Path(folder))))


def per_step(asked: Asked, run: Any, batches: Iterator[Any], *, steps: int, warm: int = 3) -> Row:
    """Milliseconds a step, of which the host was busy, and the peak of memory."""
    from trainers.gauge import forget_peak, peak_mib
    from trainers.tally import Tally

    tally = Tally(run.process)
    for batch in itertools.islice(batches, warm):
        run.train_step(batch, tally)
    synchronise(asked)
    forget_peak(run.process.device)
    begun = time.perf_counter()
    for batch in itertools.islice(batches, steps):
        run.train_step(batch, tally)
    host = time.perf_counter() - begun
    synchronise(asked)
    whole = time.perf_counter() - begun
    return {"ms": 1000 * whole / steps, "host_ms": 1000 * host / steps, "peak_mib": peak_mib(run.process.device)}


def cached(run: Any) -> Iterator[Any]:
    """Three batches, made before, over and over."""
    return itertools.cycle(list(itertools.islice(run.loader.epoch(0), 3)))


SWITCHES: dict[str, Row] = {
    "as it is, not deterministic": {},
    "deterministic": {"off": ()},
    "with the inter-pixel loss": {"interpixel": True},
    "without channels_last": {"off": ("deterministic", "channels_last")},
    "fp32": {"precision": "fp32"},
}
PROFILED = ("as it is, not deterministic", "deterministic")


def step(asked: Asked) -> Iterator[Row]:
    """UniMatch's step on batches made before, by switch; a profile of two."""

    def run(name: str) -> Row:
        with training(asked, **SWITCHES[name]) as one:
            batches = cached(one)
            row = per_step(asked, one, batches, steps=2 if asked.cpu else 15)
            return {**row, "profile": profile(asked, one, batches)} if name in PROFILED else row

    for name in SWITCHES:
        yield attempt(name, lambda name=name: run(name))  # type: ignore[misc]


def profile(asked: Asked, run: Any, batches: Iterator[Any]) -> list[tuple[str, float, int]]:
    """The operators that take most of two steps: name, milliseconds, calls."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    from trainers.tally import Tally

    activities = [ProfilerActivity.CPU] + ([] if asked.cpu else [ProfilerActivity.CUDA])
    with profiled(activities=activities) as seen:
        for batch in itertools.islice(batches, 1 if asked.cpu else 2):
            run.train_step(batch, Tally(run.process))
        synchronise(asked)
    key = "self_cpu_time_total" if asked.cpu else "self_device_time_total"
    heaviest = sorted(seen.key_averages(), key=lambda one: getattr(one, key), reverse=True)[:15]
    return [(one.key[:70], getattr(one, key) / 1000, one.count) for one in heaviest]


def loader(asked: Asked) -> Iterator[Row]:
    """The step with its loader, by its workers; every image decoded before, as after the first epoch."""
    from benchmarks.step_side import _fill_store

    def run(workers: int) -> Row:
        with training(asked, workers=workers) as one:
            _fill_store(one)
            return per_step(asked, one, one.loader.epoch(0), steps=4 if asked.cpu else 60, warm=max(2, 2 * workers))

    for workers in (0, 2) if asked.cpu else (0, 2, 4):
        yield attempt(f"{workers} workers", lambda workers=workers: run(workers))  # type: ignore[misc]


def compile(asked: Asked) -> Iterator[Row]:
    """Each mode in a process of its own, with an empty cache."""
    for mode in ("off", "default") if asked.cpu else ("off", "default", "cuda_graphs"):

        def run(mode: str = mode) -> Row:
            with tempfile.TemporaryDirectory() as folder:
                places = {name: f"{folder}/{name}" for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")}
                done = subprocess.run(
                    [sys.executable, "-m", "benchmarks.gpu_stages", json.dumps(vars(asked)), "compiled", mode],
                    stdout=subprocess.PIPE,
                    text=True,
                    env=os.environ | places,
                )
            if done.returncode:
                return {"failed": f"exit code {done.returncode}; its last words are above"}
            row: Row = json.loads(done.stdout.splitlines()[-1])
            return row

        yield attempt(mode, run)


def compiled(asked: Asked, mode: str) -> Row:
    """Seconds until three steps are done, from nothing compiled, and milliseconds of a warm step."""
    with training(asked, compile=mode) as run:
        batches = cached(run)
        begun = time.perf_counter()
        per_step(asked, run, batches, steps=1, warm=2)
        cold = time.perf_counter() - begun
        return {"cold_s": cold, **per_step(asked, run, batches, steps=2 if asked.cpu else 15)}


def unimatch(asked: Asked) -> Iterator[Row]:
    """Ours against UniMatch's loop in fp32, and in bf16 and channels last put around it, in turns."""
    from dataclasses import replace

    from benchmarks.step import started

    if not asked.unimatch:
        yield {"name": "UniMatch's loop", "skipped": "no checkout was given (--unimatch PATH)"}
        return
    ours = side(asked, workers=1 if asked.cpu else 4)
    theirs = replace(ours, kind="unimatch", unimatch=asked.unimatch, off=())
    sides = {"ours, bf16": ours, "UniMatch, fp32": theirs, "UniMatch, bf16": replace(theirs, kind="unimatch_bf16")}
    with contextlib.ExitStack() as stack:
        turns: dict[str, Any] = {}
        for name, one in sides.items():
            try:
                turns[name] = stack.enter_context(started(one))
            except Exception as error:
                yield {"name": name, "failed": str(error)[-300:]}
        for _ in range(2):
            for name in turns:

                def turn(name: str = name) -> Row:
                    answer = turns[name](2 if asked.cpu else 10)
                    seconds = sorted(answer["seconds"])
                    return {"ms": 1000 * seconds[len(seconds) // 2], "peak_mib": answer["memory_mib"]}

                yield attempt(name, turn)


def kernels(asked: Asked) -> Iterator[Row]:
    """See `benchmarks.gpu_kernels`."""
    from benchmarks import gpu_kernels

    yield from gpu_kernels.rows(asked)


def processes(asked: Asked) -> Iterator[Row]:
    """See `benchmarks.gpu_processes`."""
    from benchmarks import gpu_processes

    yield from gpu_processes.rows(asked)


STAGES = {one.__name__: one for one in (tests, methods, kernels, step, loader, compile, unimatch, processes)}


def run(asked: Asked, rows: Path) -> bool:
    """The stage's rows, printed and kept as they come; whether none of them failed."""
    well = True
    for row in STAGES[asked.stage](asked):
        well = well and "failed" not in row
        line = json.dumps({"stage": asked.stage, "device": device_name(asked), **row})
        print(line[:400], flush=True)
        with rows.open("a") as stream:
            stream.write(line + "\n")
    return well


def device_name(asked: Asked) -> str:
    import torch

    return "CPU" if asked.cpu else torch.cuda.get_device_name()


def main() -> None:
    asked = Asked(**json.loads(sys.argv[1]))
    if sys.argv[2] == "compiled":
        print(json.dumps(compiled(asked, sys.argv[3])))
        return
    sys.exit(0 if run(asked, Path(sys.argv[2])) else 1)


if __name__ == "__main__":
    main()
