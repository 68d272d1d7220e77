"""What a command and a function as trainer cost beside the bare program, per trial and per epoch, and how late an epoch
is heard of.

    python -m benchmarks.trainer_overhead --out benchmarks/results/trainer_overhead_202611.md

The program is `tests/ipix_tune/toy_trainer.py`, which waits in every epoch. Bare, by command and by function follow
each other in every round, each with few and with many epochs; Ray is in none of them.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from ipix_tune.trainer.choose import trainer_of
from ipix_tune.trainer.function import hand_over
from ipix_tune.trainer.interface import Epoch

TOY = Path(__file__).parents[1] / "tests" / "ipix_tune" / "toy_trainer.py"
PAUSE_S, FEW, MANY, ROUNDS = 0.5, 2, 12, 5

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass
class Cost:
    """What runs of one kind and length took, in seconds.

    Args:
        wall: of a run.
        cpu: of the trial's own process in a run; of what it started nothing.
        late: from an epoch's writing until it was heard of.
    """

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)


Costs = dict[tuple[str, int], Cost]
"""By kind and number of epochs."""


def waiting(config: dict[str, Any], report: Any) -> None:
    """The same as the program, as a function."""
    for epoch in range(1, report.epochs + 1):
        time.sleep(PAUSE_S)
        report(epoch, {"val/dice": 0.5, "written": time.time()})


def bare(cost: Cost, epochs: int, folder: Path) -> None:
    """The program alone."""
    folder.mkdir()
    command = [sys.executable, str(TOY), "--epochs", str(epochs), "--pause", str(PAUSE_S), "--out", str(folder)]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    cost.wall.append(time.perf_counter() - began)


def through(cost: Cost, section: dict[str, Any], folder: Path) -> None:
    """A run through the seam."""
    trainer = trainer_of(section)
    config = trainer.validated(trainer.data_of(section, {}, {}), source="benchmark", lines={})
    written = folder / "run" / "metrics.jsonl"

    def report(epoch: Epoch) -> bool:
        at = epoch.metrics.get("written") or written.stat().st_mtime
        cost.late.append(time.time() - at)
        return True

    began, worked = time.perf_counter(), time.process_time()
    trainer.run(config, folder, report)
    cost.wall.append(time.perf_counter() - began)
    cost.cpu.append(time.process_time() - worked)


@app.command()
def main(out: Annotated[Path, typer.Option(help="A Markdown file.")]) -> None:
    """Measure, and write the table."""
    command = {
        "command": [sys.executable, str(TOY), "--epochs", "{epochs}", "--pause", str(PAUSE_S), "--out", "{run_dir}"],
        "metrics": {"jsonl": "{run_dir}/metrics.jsonl"},
        "score": "val/dice",
    }
    function = {"function": hand_over(waiting), "score": "val/dice"}
    found: Costs = defaultdict(Cost)
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as name:
        for number in range(ROUNDS):
            for epochs in (FEW, MANY):
                where = Path(name) / f"{number}-{epochs}"
                where.mkdir()
                bare(found["bare", epochs], epochs, where / "bare")
                for kind, section in (("command", command), ("function", function)):
                    through(found[kind, epochs], {**section, "epochs": epochs}, where / kind)
            loads.append(os.getloadavg()[0])
    out.write_text(_text(found, loads))
    typer.echo(out.read_text())


def _line(kind: str, found: Costs) -> str:
    middle = statistics.median
    few, many = found[kind, FEW], found[kind, MANY]
    cells = [f"{middle(one.wall):.2f} ({min(one.wall):.2f} to {max(one.wall):.2f})" for one in (few, many)]
    if kind == "bare":
        return f"| {kind} | {' | '.join(cells)} | | | | |"
    over = [middle(one.wall) - middle(found["bare", epochs].wall) for one, epochs in ((few, FEW), (many, MANY))]
    each = (over[1] - over[0]) / (MANY - FEW)
    late, cpu = [*few.late, *many.late], (middle(many.cpu) - middle(few.cpu)) / (MANY - FEW)
    cells += [f"{over[0] - FEW * each:+.2f}", f"{each:+.3f}", f"{1000 * cpu:.1f}"]
    return f"| {kind} | {' | '.join(cells)} | {middle(late):.2f} ({max(late):.2f}) |"


def _text(found: Costs, loads: list[float]) -> str:
    asked = {"pause_s": PAUSE_S, "epochs": [FEW, MANY], "rounds": ROUNDS}
    return "\n".join(
        [
            "# What the seam costs a trainer that is not ours",
            "",
            f"A program that waits {PAUSE_S} s in each of {FEW} or {MANY} epochs: alone, as a command, as a function.",
            f"Medians over {ROUNDS} rounds (smallest to largest), by turns. What a run takes over the bare program has",
            "a part per trial and a part per epoch: the line through both lengths.",
            "",
            f"| how | seconds, {FEW} epochs | seconds, {MANY} epochs | over bare: seconds a trial | seconds an epoch | "
            "CPU of the trial's process, ms an epoch | an epoch is heard of after, seconds (longest) |",
            "|---|---|---|---|---|---|---|",
            *(_line(kind, found) for kind in ("bare", "command", "function")),
            "",
            "The command's own part is a supervisor's start, a look at its metrics every quarter of a second, and at",
            "its end every fifth of one. An epoch is told at the first look at which nothing new of it was written. A",
            "function runs in the trial's process, which has imported all it needs; the bare program starts Python.",
            "",
            f"Command: `python -m benchmarks.trainer_overhead --out FILE`; {json.dumps(asked)}.",
            f"{time.strftime('%Y-%m-%d')}; Python {platform.python_version()}; {platform.machine()}, "
            f"{os.cpu_count()} cores, load {min(loads):.0f} to {max(loads):.0f}.",
            "",
        ]
    )


if __name__ == "__main__":
    app()
