"""1,000 runs of 100 epochs of W&B logs to report: seconds, memory, and what one run more costs.

    python -m benchmarks.report_scale --folder FOLDER --out benchmarks/results/report_scale_202611.md

One run is logged with W&B's client, the others are its records with other names, configs and scores
(`benchmarks.helpers.wandb_files`). Each report is a process of its own; its memory and its CPU time are those of it and
all processes that it begins, and memory that several share is counted once."""

import ctypes
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import psutil
import typer

from benchmarks.helpers.wandb_files import EPOCHS, Template, log_with_client, run_id, write_study

STUDY = "scale"
SET_CHILD_SUBREAPER = 36
"""Linux' prctl option by which processes whose parent has ended become children of this one."""


def main(
    out: Annotated[Path, typer.Option(help="Markdown file to write.")],
    folder: Annotated[Path, typer.Option(help="Where the logs are made, once.")],
    runs: int = 1000,
) -> None:
    """Measure a first report, one of the same logs, and one with a run more."""
    study = folder / STUDY
    if not study.exists():
        template = Template(log_with_client(folder / "client", STUDY).read_bytes())
        write_study(study, template, range(runs + 1))
    last = next(study.glob(f"wandb/*{run_id(runs, STUDY)}"), None)
    aside = folder / "aside"
    if last is not None:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        shutil.move(last, aside / last.name)
    for made in ("tables", "plots"):
        shutil.rmtree(study / made, ignore_errors=True)
    megabytes = sum(path.stat().st_size for path in study.rglob("run-*.wandb")) / 1e6
    rows = [("first report", *measure(study)), ("the same logs again", *measure(study))]
    new = next(aside.glob(f"*{run_id(runs, STUDY)}"))
    shutil.copytree(new, study / "wandb" / new.name)
    rows.append(("one run more", *measure(study)))
    lines = [
        f"# The report of {runs:,} runs of {EPOCHS} epochs",
        "",
        f"`python -m benchmarks.report_scale --folder FOLDER --out {out}`, {datetime.now(UTC):%Y-%m-%d}, "
        f"{psutil.cpu_count()} cores, no GPU, Python {platform.python_version()}, pyarrow {version('pyarrow')}, "
        f"matplotlib {version('matplotlib')}, wandb {version('wandb')}; load average at the start of the last report "
        f"{rows[-1][4]:.1f}. {megabytes:.0f} MB of logs; page {(study / 'report.html').stat().st_size / 1e6:.1f} MB.",
        "",
        "| | wall (s) | CPU (s) | memory (MB) |",
        "|---|---|---|---|",
        *(f"| {name} | {wall:.1f} | {cpu:.1f} | {peak:.0f} |" for name, wall, cpu, peak, _ in rows),
    ]
    out.write_text("\n".join(lines) + "\n")


def measure(study: Path) -> tuple[float, float, float, float]:
    """Seconds on the clock, seconds of CPU, peak MB, and the machine's load before, of one report."""
    ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1)
    load, before, start = psutil.getloadavg()[0], _cpu(), time.perf_counter()
    process = psutil.Popen([sys.executable, "-m", "analysis.report", str(study)])
    peak = 0.0
    while process.poll() is None:
        try:
            family = [process, *process.children(recursive=True)]
            peak = max(peak, sum(one.memory_full_info().pss for one in family) / 1e6)
        except psutil.NoSuchProcess:
            continue
        time.sleep(0.2)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, "analysis.report")
    wall = time.perf_counter() - start
    return wall, _cpu() - before, peak, load


def _cpu() -> float:
    """Of all processes that were begun and have ended, those whose parent ended before them included."""
    with suppress(ChildProcessError):
        while True:
            os.wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    typer.run(main)
