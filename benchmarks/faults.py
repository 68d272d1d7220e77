"""What every fault of `tests/chaos` costs, each done many times to real studies.

    python -m benchmarks.faults run --rows faults.jsonl --times 10 --at-once 3
    python -m benchmarks.faults table --rows faults.jsonl --out benchmarks/results/faults_202611.md

`run` does one fault after the other, then all once more, and writes a row for each as it ends; called again it goes on
from there. A row that failed counts as one that was tried.
"""

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from trainers.common.environment import git_commit

Row = Mapping[str, Any]
TESTS = "tests/chaos/test_faults.py"
LONGEST_S = 1800
"""After so long a test counts as failed."""
TOLD, SHOWN = 3000, 300
"""Characters of a failure that a row keeps, and that the page shows."""

INTRODUCTION = """Real studies, real kills, on one machine. A row counts as right when the study ended with the
configurations, the curves (bit for bit), the best configuration and the tables of the undisturbed study, made from its
logs. An epoch counts as lost when it was on disk before the fault and had to be trained again. The seconds include the
wait that the test itself caused (storage away, disk full) and the start of Ray where the driver was started again."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    rows: Annotated[Path, typer.Option(help="Where the rows are kept, a line of JSON each; outside the checkout.")],
    times: Annotated[int, typer.Option(min=1, help="Rows of every fault.")] = 10,
    only: Annotated[str, typer.Option(help="Only tests whose names hold this.")] = "",
    at_once: Annotated[int, typer.Option(min=1, help="Faults side by side; much of each is waiting.")] = 1,
    begin_for_s: Annotated[
        float, typer.Option(min=0, help="Begin none after so many seconds; end what runs.")
    ] = math.inf,
) -> None:
    """Do the faults until each has been done so many times."""
    last_begin = time.monotonic() + begin_for_s
    tests = [test for test in collected() if only in test]
    kept = rows.with_name(f"{rows.stem}-undisturbed-{str(git_commit())[:7]}")
    running: dict[Future[Row], str] = {}
    with ThreadPoolExecutor(at_once) as pool:
        while True:
            done = [*read(rows), *({"test": test} for test in running.values())]
            room = len(running) < at_once and time.monotonic() < last_begin
            if room and (test := due(done, tests, times=times)) is not None:
                running[pool.submit(tried, test, kept=kept)] = test
                continue
            if not running:
                return
            for one in wait(running, return_when=FIRST_COMPLETED).done:
                test, row = running.pop(one), one.result()
                with rows.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                typer.echo(f"{row['at']} {test}: {'passed' if row['passed'] else 'FAILED'} after {row['wall_s']:.0f} s")


def read(rows: Path) -> list[Row]:
    """The rows so far."""
    return [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []


def collected() -> list[str]:
    """Names of the tests."""
    command = [sys.executable, "-m", "pytest", TESTS, "-m", "slow", "--collect-only", "-q"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line.rpartition("::")[2] for line in lines if "::" in line]


def due(rows: Sequence[Row], tests: Sequence[str], *, times: int) -> str | None:
    """The test with the fewest rows, the first of them; None where all have so many."""
    count = Counter(row["test"] for row in rows)
    first = min(tests, key=lambda test: count[test], default=None)
    return first if first is not None and count[first] < times else None


def tried(test: str, *, kept: Path) -> dict[str, Any]:
    """One fault, done once, in a process of its own.

    Args:
        test: its name.
        kept: folder of the undisturbed studies, which the first ones make.
    """
    began = time.monotonic()
    at = f"{datetime.now(UTC):%Y-%m-%d %H:%M}"
    with tempfile.TemporaryDirectory() as folder:
        costs = Path(folder) / "costs.jsonl"
        command = [
            sys.executable,
            "-m",
            "pytest",
            f"{TESTS}::{test}",
            "-m",
            "slow",
            "-q",
            "-p",
            "no:cacheprovider",
            "--timeout",
            str(LONGEST_S),
        ]
        command += [
            "--basetemp",
            str(Path(folder) / "tests"),
            "--show-capture=no",
            "-vv",
            "--fault-rows",
            str(costs),
            "--undisturbed",
            str(kept),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S)
            passed, said = done.returncode == 0, done.stdout
        except subprocess.TimeoutExpired:
            passed, said = False, f"not over after {LONGEST_S} s"
        found = [json.loads(line) for line in costs.read_text().splitlines()] if costs.exists() else []
    errors = [line for line in said.splitlines() if line.startswith(("E ", "FAILED", "ERROR", "not over"))]
    return {
        "test": test,
        "passed": passed,
        "wall_s": round(time.monotonic() - began, 1),
        "at": at,
        "load": round(os.getloadavg()[0], 1),
        "commit": git_commit(),
        "costs": found,
        "failure": None if passed else " ".join(" ".join(errors).split())[:TOLD],
    }


@app.command()
def table(
    rows: Annotated[Path, typer.Option(help="What `run` wrote.")],
    out: Annotated[Path, typer.Option(help="The page.")],
) -> None:
    """Write the page from the rows that there are."""
    out.write_text("\n".join(page(read(rows))) + "\n")


def page(rows: Sequence[Row]) -> list[str]:
    """Lines of Markdown."""
    tests = list(dict.fromkeys(row["test"] for row in rows))
    times = max(Counter(row["test"] for row in rows).values())
    commits = ", ".join(sorted({str(row["commit"])[:7] for row in rows}))
    loads, when = [row["load"] for row in rows], sorted(row["at"] for row in rows)
    versions = ", ".join(f"{name} {version(name)}" for name in ("ray", "optuna", "wandb", "torch"))
    cores = len(os.sched_getaffinity(0))
    return [
        "# What a fault costs",
        "",
        INTRODUCTION,
        "",
        "| fault | right | epochs lost at most | seconds to the next epoch: median (range) | how it went on |",
        "|---|---|---|---|---|",
        *(_line(test, [row for row in rows if row["test"] == test]) for test in tests),
        "",
        *_failures(rows),
        f"Command: `python -m benchmarks.faults run --rows faults.jsonl --times {times}`, then `table`;",
        f"{len(rows)} rows from {when[0]} to {when[-1]} (UTC), commit {commits}.",
        f"{cores} CPU cores shared with other work (load {min(loads)} to {max(loads)}), no GPU;",
        f"Python {platform.python_version()}, {versions}; {platform.machine()}.",
    ]


def _line(test: str, rows: Sequence[Row]) -> str:
    costs = [cost for row in rows for cost in row["costs"]]
    right = f"{sum(row['passed'] for row in rows)} of {len(rows)}"
    if not costs:
        return f"| {test.removeprefix('test_').replace('_', ' ')} | {right} | | | |"
    seconds = [cost["seconds"] for cost in costs]
    spread = f" ({min(seconds):.1f} to {max(seconds):.1f})" if len(seconds) > 1 else ""
    lost = max(cost["epochs_lost"] for cost in costs)
    return f"| {costs[0]['fault']} | {right} | {lost} | {statistics.median(seconds):.1f}{spread} | {costs[0]['how']} |"


def _failures(rows: Sequence[Row]) -> list[str]:
    failed = [row for row in rows if not row["passed"]]
    if not failed:
        return []
    return [
        "What failed:",
        "",
        *(f"- {row['test']} ({row['at']}): {str(row['failure'])[:SHOWN]}" for row in failed),
        "",
    ]


if __name__ == "__main__":
    app()
