"""The stage `compile` of `benchmarks.gpu`: each mode of `precision.compile` in a process of its own, from nothing
compiled."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from benchmarks.helpers.gpu_measure import Asked, Row, attempt, cached, per_step, training


def compile(asked: Asked) -> Iterator[Row]:
    """Each mode in a process of its own, with an empty cache."""
    for mode in ("off", "default") if asked.cpu else ("off", "default", "cuda_graphs"):

        def run(mode: str = mode) -> Row:
            with tempfile.TemporaryDirectory() as folder:
                places = {name: f"{folder}/{name}" for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")}
                done = subprocess.run(
                    [sys.executable, "-m", "benchmarks.gpu_compile", json.dumps(vars(asked)), mode],
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
    """Seconds until three steps are done, from nothing compiled, and milliseconds of a warm step: of UniMatch, in a
    rehearsal of a method that has one forward pass to compile."""
    with training(asked, compile=mode, method="supervised" if asked.cpu else "unimatch") as run:
        batches = cached(run)
        begun = time.perf_counter()
        per_step(asked, run, batches, steps=1, warm=2)
        cold = time.perf_counter() - begun
        return {"cold_s": cold, **per_step(asked, run, batches, steps=2 if asked.cpu else 15)}


def main() -> None:
    """A mode in this process: its row is the last line of standard output."""
    print(json.dumps(compiled(Asked(**json.loads(sys.argv[1])), sys.argv[2])))


if __name__ == "__main__":
    main()
