"""All methods on `digits`, with and without the inter-pixel loss: scores, and what a step costs.

    python -m ipix_tune.sweep benchmarks/methods.yaml            # the scores; continues with --resume
    python -m analysis.report studies/methods-table                    # its tables
    python -m benchmarks.methods cost --rows cost.jsonl          # the costs, a quarter of an hour on a quiet machine
    python -m benchmarks.methods causes                          # why some methods stay far below
    python -m benchmarks.methods table studies/methods-table --rows cost.jsonl --out benchmarks/results/methods.md

Every row has the same steps, seeds and images to be scored on. A cost is measured in a process of its own: steps of the
method and of UniMatch by turns, the median of the ratios of neighbouring blocks.
"""

import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
import torch
import typer
from torch import nn

from benchmarks.digits_methods import standard_error
from trainers.config import TrainConfig
from trainers.fit import numerics
from trainers.layers import resolved
from trainers.models.deeplabv3plus import DeepLabV3Plus
from trainers.run import Run
from trainers.tally import Tally
from trainers.yamlfile import read, set_dotted, validate

STUDY = Path(__file__).with_name("methods.yaml")
SCORE = "final/last/miou"
BASELINE, YARDSTICK = "supervised", "unimatch"
BLOCK, BLOCKS = 5, 7
BEGUN = 60
"""Steps before a method is measured: past every warm-up on labels alone but ST's first stage."""

app = typer.Typer(add_completion=False)


def methods() -> list[str]:
    """Names of all methods in the study, in its order."""
    found: list[str] = read(STUDY)[0]["search"]["method.name"]["choice"]
    return found


def config_of(name: str, alpha: float) -> TrainConfig:
    """The training config of one row, seed 0."""
    data, lines = read(STUDY)
    trainer, _ = resolved(data["trainer"], lines, file=STUDY, at=("trainer",))
    trainer["method"] = {"name": name} | ({"flip": False} if name in ("st", "stpp") else {})
    trainer["interpixel"]["alpha"] = alpha
    return validate(TrainConfig, trainer, source=str(STUDY))


class Stepper:
    """Takes steps of one run, epoch after epoch, on the clock."""

    def __init__(self, name: str, alpha: float, folder: Path) -> None:
        self.run = Run(config_of(name, alpha), folder / f"{name}-{alpha:g}")
        self.tally = Tally(self.run.process)
        self.batches: Any = iter(())
        self.epoch = 0

    def step(self) -> float:
        """Seconds of one step, its batch ready."""
        batch = next(self.batches, None)
        if batch is None:
            self.batches = iter(self.run.loader.epoch(self.epoch))
            self.epoch += 1
            batch = next(self.batches)
        begun = time.perf_counter()
        self.run.train_step(batch, self.tally)
        return time.perf_counter() - begun


def passes(stepper: Stepper) -> dict[str, float]:
    """Images through a whole network in one step, with and without gradient, in units of the batch."""
    counts: dict[str, float] = defaultdict(float)

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(module, DeepLabV3Plus):
            kind = "gradient" if torch.is_grad_enabled() else "no gradient"
            counts[kind] += len(inputs[0]) / stepper.run.config.data.batch_size

    hook = nn.modules.module.register_module_forward_hook(count)
    try:
        stepper.step()
    finally:
        hook.remove()
    return dict(counts)


@app.command()
def one(name: str, alpha: float) -> None:
    """Measure one row and print it as JSON."""
    from trainers.gauge import peak_mib

    with numerics(config_of(name, alpha).precision), tempfile.TemporaryDirectory() as folder:
        mine = Stepper(name, alpha, Path(folder))
        for _ in range(BEGUN):
            mine.step()
        counts, peak = passes(mine), peak_mib(mine.run.process.device)
        yardstick = Stepper(YARDSTICK, 0.0, Path(folder) / "yardstick")
        for _ in range(BLOCK):
            yardstick.step()
        ratios = []
        for _ in range(BLOCKS):
            own = sum(mine.step() for _ in range(BLOCK))
            ratios.append(own / sum(yardstick.step() for _ in range(BLOCK)))
        mine.run.close()
        yardstick.run.close()
    ratio, low, high = statistics.median(ratios), min(ratios), max(ratios)
    typer.echo(
        json.dumps({"method": name, "alpha": alpha, "ratio": ratio, "low": low, "high": high, "peak": peak, **counts})
    )


@app.command()
def cost(rows: Annotated[Path, typer.Option(help="JSON lines to add to; what it has is not measured again.")]) -> None:
    """Measure what a step of every method costs."""
    known = [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []
    done = {(row["method"], row["alpha"]) for row in known}
    for name in methods():
        for alpha in (0.0, 1.0):
            if (name, alpha) in done:
                continue
            command = [sys.executable, "-m", "benchmarks.methods", "one", name, str(alpha)]
            found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            typer.echo(found)
            with rows.open("a") as file:
                file.write(found + "\n")


CAUSES: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("psmt", 1, {}),
    ("psmt", 1, {"method.ema_decay": 0.9}),
    ("psmt", 1, {"method.warmup_passes": 40.0}),
    ("u2pl", 1, {}),
    ("u2pl", 1, {"method.ema_decay": 0.9}),
    ("u2pl", 1, {"method.contrast_weight": 0.0}),
    ("meanteacher", 1, {}),
    ("meanteacher", 1, {"method.consistency_weight": 1.0}),
    ("pseudoseg", 1, {}),
    ("pseudoseg", 1, {"method.pseudo_weight": 0.0}),
    ("pseudoseg", 0, {"optim.lr": 0.02}),
)
"""Method, seed and what is set otherwise than in the study."""


@app.command()
def causes(
    only: Annotated[str | None, typer.Option(help="One method.")] = None,
) -> None:
    """Train one run for each of `CAUSES`, without the inter-pixel loss, and print its last line."""
    for name, seed, changes in CAUSES:
        if only not in (None, name):
            continue
        data = config_of(name, 0.0).model_dump(mode="json")
        for key, value in {"seed": seed, **changes}.items():
            set_dotted(data, key, value)
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "config.yaml"
            config.write_text(json.dumps(data))
            command = [sys.executable, "-m", "trainers.train", str(config), "--run-dir", str(Path(folder) / "run")]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        last = [line for line in said.splitlines() if "val/miou" in line][-1]
        typer.echo(f"{name}, seed {seed}, {changes or 'as in the study'}: {last}")


@app.command()
def table(
    studies: Annotated[list[Path], typer.Argument(help="Folders of the studies, their reports made.")],
    rows: Annotated[Path, typer.Option(help="What `cost` wrote.")],
    out: Annotated[Path, typer.Option(help="Markdown file to write.")],
) -> None:
    """Write the table."""
    out.write_text(render(*scores(studies), costs=[json.loads(line) for line in rows.read_text().splitlines()]))
    typer.echo(out.read_text())


def scores(studies: list[Path]) -> tuple[dict[tuple[str, float], dict[int, float]], set[int]]:
    """Score by (method, alpha) and seed, and the numbers of steps that occur (there should be one)."""
    history, runs = (
        [row for study in studies for row in pq.read_table(study / f"tables/{name}.parquet").to_pylist()]
        for name in ("history", "runs")
    )
    last = {row["run_id"]: row for row in history if row.get(SCORE)}
    found: dict[tuple[str, float], dict[int, float]] = defaultdict(dict)
    steps = set()
    for run in runs:
        if run["state"] == "complete" and run["run_id"] in last:
            config = json.loads(run["config"])
            key = config["method"]["name"], float(config["interpixel"]["alpha"])
            found[key][run["seed"]] = last[run["run_id"]][SCORE]
            steps.add(run["epochs"] * config["schedule"]["steps_per_epoch"])
    return found, steps


def render(found: dict[tuple[str, float], dict[int, float]], steps: set[int], *, costs: list[dict[str, Any]]) -> str:
    """The table as Markdown; differences are paired by seed."""
    by_cost = {(row["method"], row["alpha"]): row for row in costs}
    base = found[BASELINE, 0.0]
    lines = [
        "# All methods on `digits`, with and without the inter-pixel loss",
        "",
        f"The unified preset with a small network, {', '.join(map(str, sorted(steps)))} steps per run, 12 labelled "
        "images. mIoU in % on the official validation list after the last step, mean ± standard error over the seeds; "
        "nothing was selected on it and nothing tuned for a method. Differences are paired by seed, ± their standard "
        "error. Seconds per step: a multiple of UniMatch's without the inter-pixel loss, by turns in one process "
        f"({BLOCKS} blocks of {BLOCK} steps: median, smallest to largest). Passes: images through a network per step, "
        "with gradient + without, in units of the batch of each stream; calls of single parts are not in it. "
        "Peak memory: the whole process, libraries included. ST and ST++: the cost of a step of their first stage, on "
        "labels alone.",
        "",
        "| method | inter-pixel | seeds | mIoU | against supervised-only | gain of the inter-pixel loss | passes "
        "| s / step | peak MiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (name, alpha), by_seed in sorted(found.items(), key=lambda item: (order(found, item[0][0]), item[0][1])):
        values = list(by_seed.values())
        price = by_cost.get((name, alpha))
        priced = (
            ["", "", ""]
            if price is None
            else [
                f"{price.get('gradient', 0):g} + {price.get('no gradient', 0):g}",
                f"{price['ratio']:.2f} ({price['low']:.2f} to {price['high']:.2f})",
                f"{price['peak']:.0f}",
            ]
        )
        cells = [
            name,
            "KL" if alpha else "",
            str(len(values)),
            f"{statistics.mean(values):.2f} ± {standard_error(values):.2f}",
            "" if (name, alpha) == (BASELINE, 0.0) else paired(by_seed, base),
            paired(by_seed, found[name, 0.0]) if alpha and (name, 0.0) in found else "",
            *priced,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "ray", "optuna"))
    lines += [
        "",
        "Commands: `python -m ipix_tune.sweep benchmarks/methods.yaml`, `python -m analysis.report "
        "studies/methods-table`, `python -m benchmarks.methods cost --rows cost.jsonl`, `python -m benchmarks.methods "
        "table studies/methods-table --rows cost.jsonl --out benchmarks/results/methods.md`.",
        f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, {versions}; {platform.machine()}, CPU, "
        "1 thread per run.",
        "",
    ]
    return "\n".join(lines)


def order(found: dict[tuple[str, float], dict[int, float]], name: str) -> float:
    """Mean score of a method without the inter-pixel loss, the lowest first."""
    return statistics.mean((found.get((name, 0.0)) or found[name, 1.0]).values())


def paired(first: dict[int, float], second: dict[int, float]) -> str:
    """Mean difference over the seeds that both have, with its standard error."""
    apart = [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]
    return f"{statistics.mean(apart):+.2f} ± {standard_error(apart):.2f} (n = {len(apart)})" if apart else ""


if __name__ == "__main__":
    app()
