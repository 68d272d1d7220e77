"""The stages of `benchmarks.gpu`, each a generator of rows; one runs in this process, and its rows are kept as they
come. What fails is a row too, and the next item goes on."""

import os

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before the first product: PyTorch looks once

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import gpu_compile, gpu_processes
from benchmarks.helpers import gpu_kernels, gpu_methods, gpu_networks, gpu_steps
from benchmarks.helpers.gpu_measure import Asked, Row, device_name

STAGES: dict[str, Callable[[Asked], Iterator[Row]]] = {
    "tests": gpu_methods.tests,
    "methods": gpu_methods.methods,
    "kernels": gpu_kernels.rows,
    "step": gpu_steps.step,
    "loader": gpu_steps.loader,
    "compile": gpu_compile.compile,
    "unimatch": gpu_steps.unimatch,
    "networks": gpu_networks.networks,
    "processes": gpu_processes.rows,
}


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


def main() -> None:
    asked = Asked(**json.loads(sys.argv[1]))
    sys.exit(0 if run(asked, Path(sys.argv[2])) else 1)


if __name__ == "__main__":
    main()
