"""What a command and a function as trainer cost beside the bare program, and how late an epoch is heard of.

    python -m benchmarks.trainer_overhead --out benchmarks/results/trainer_overhead_202611.md

The program is `tests/ipix_tune/toy_trainer.py`, which waits in every epoch. Bare, by command and by function follow
each other in every round; Ray is in none of them.
"""

import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from ipix_tune.trainer.choose import trainer_of
from ipix_tune.trainer.function import hand_over
from ipix_tune.trainer.interface import Epoch

TOY = Path(__file__).parents[1] / "tests" / "ipix_tune" / "toy_trainer.py"
PAUSE_S, EPOCHS, ROUNDS = 0.5, 10, 5

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def waiting(config: dict[str, Any], report: Any) -> None:
    """The same as the program, as a function."""
    for epoch in range(1, report.epochs + 1):
        time.sleep(PAUSE_S)
        report(epoch, {"val/dice": 0.5, "written": time.time()})


def bare(folder: Path) -> float:
    """Seconds of the program alone."""
    folder.mkdir()
    command = [sys.executable, str(TOY), "--epochs", str(EPOCHS), "--pause", str(PAUSE_S), "--out", str(folder)]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def through(section: dict[str, Any], folder: Path) -> tuple[float, list[float]]:
    """Seconds of a run through the seam, and how many seconds after its writing each epoch was heard of."""
    trainer, late = trainer_of(section), []
    config = trainer.validated(trainer.data_of(section, {}, {}), source="benchmark", lines={})
    written = folder / "run" / "metrics.jsonl"

    def report(epoch: Epoch) -> bool:
        at = epoch.metrics.get("written") or written.stat().st_mtime
        late.append(time.time() - at)
        return True

    began = time.perf_counter()
    trainer.run(config, folder, report)
    return time.perf_counter() - began, late


@app.command()
def main(out: Annotated[Path, typer.Option(help="A Markdown file.")]) -> None:
    """Measure, and write the table."""
    command = {
        "command": [sys.executable, str(TOY), "--epochs", "{epochs}", "--pause", str(PAUSE_S), "--out", "{run_dir}"],
        "epochs": EPOCHS,
        "metrics": {"jsonl": "{run_dir}/metrics.jsonl"},
        "score": "val/dice",
    }
    function = {"function": hand_over(waiting), "epochs": EPOCHS, "score": "val/dice"}
    alone: list[float] = []
    found: dict[str, tuple[list[float], list[float]]] = {"command": ([], []), "function": ([], [])}
    with tempfile.TemporaryDirectory() as name:
        for number in range(ROUNDS):
            alone.append(bare(Path(name) / f"bare{number}"))
            for kind, section in (("command", command), ("function", function)):
                seconds, late = through(section, Path(name) / f"{kind}{number}")
                found[kind][0].append(seconds)
                found[kind][1].extend(late)
    out.write_text(_text(alone, found))
    typer.echo(out.read_text())


def _text(alone: list[float], found: dict[str, tuple[list[float], list[float]]]) -> str:
    middle = statistics.median
    rows = [
        f"| {kind} | {middle(seconds):.2f} | {middle(seconds) / middle(alone):.2f} | {middle(late):.2f} "
        f"({max(late):.2f}) |"
        for kind, (seconds, late) in found.items()
    ]
    asked = {"epochs": EPOCHS, "pause_s": PAUSE_S, "rounds": ROUNDS}
    return "\n".join(
        [
            "# What the seam costs a trainer that is not ours",
            "",
            f"A program that waits {PAUSE_S} s in each of {EPOCHS} epochs: alone, as a command, as a function.",
            f"Medians over {ROUNDS} rounds, by turns.",
            "",
            "| how | seconds a run | of the bare program's | an epoch is heard of after, seconds (longest) |",
            "|---|---|---|---|",
            f"| bare | {middle(alone):.2f} | 1 | |",
            *rows,
            "",
            "The command's own part is a supervisor's start, a look at its metrics every half second and at its end",
            "every fifth of one. A function runs in the trial's process, which has imported all that it needs; the",
            "bare program starts Python.",
            "",
            f"Command: `python -m benchmarks.trainer_overhead --out FILE`; {json.dumps(asked)}.",
            f"{time.strftime('%Y-%m-%d')}; Python {platform.python_version()}; {platform.machine()}, 2 cores.",
            "",
        ]
    )


if __name__ == "__main__":
    app()
