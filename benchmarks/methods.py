"""All methods on `digits`, with and without the inter-pixel loss: scores, and what a step costs.

    python -m benchmarks.methods run --rows runs.jsonl              # the scores; goes on where it was stopped
    python -m benchmarks.methods run --rows runs.jsonl --decay 0.9  # with averages that suit a training of this length
    python -m benchmarks.methods cost --rows cost.jsonl             # the costs, a quarter of an hour on a quiet machine
    python -m benchmarks.methods causes                             # why some methods stay far below
    python -m benchmarks.methods table --runs runs.jsonl --costs cost.jsonl --out benchmarks/results/methods.md

Every row has the same steps, seeds and images to be scored on. A cost is measured in a process of its own: steps of the
method and of UniMatch by turns, the median of the ratios of neighbouring blocks.
"""

import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import nn

from benchmarks.helpers.methods_table import BLOCK, BLOCKS, render
from trainers.common.base_files import resolved
from trainers.common.config_keys import set_dotted
from trainers.common.yaml_file import read, validate
from trainers.config import TrainConfig
from trainers.loop.fit import numerics
from trainers.loop.run import Run
from trainers.loop.step_means import StepMeans
from trainers.models.interface import SegmentationModel

STUDY = Path(__file__).with_name("methods.yaml")
SCORE = "final/last/miou"
YARDSTICK = "unimatch"
SEEDS = (0, 1, 2)
BEGUN = 60
"""Steps before a method is measured: past every warm-up on labels alone but ST's first stage."""

FLIPPING = ("st", "stpp", "dstcbc", "dsbn", "naive_student", "noisy_student")
"""Methods that can label the mirrored image too."""

app = typer.Typer(add_completion=False)


def methods() -> list[str]:
    """Names of all methods in the study, in its order."""
    found: list[str] = read(STUDY)[0]["search"]["method.name"]["choice"]
    return found


def config_of(name: str, alpha: float) -> TrainConfig:
    """The training config of one row, seed 0."""
    data, lines = read(STUDY)
    trainer, _ = resolved(data["trainer"], lines, file=STUDY, at=("trainer",))
    trainer["method"] = {"name": name} | ({"flip": False} if name in FLIPPING else {})
    trainer["interpixel"]["alpha"] = alpha
    return validate(TrainConfig, trainer, source=str(STUDY))


LONGER = 10
"""A timed run is so many times as long, so that the first training of a method in stages has steps enough."""


class Stepper:
    """Takes steps of one run, epoch after epoch, on the clock."""

    def __init__(self, name: str, alpha: float, folder: Path) -> None:
        config = config_of(name, alpha)
        longer = config.schedule.model_copy(update={"epochs": LONGER * config.schedule.epochs})
        self.run = Run(config.model_copy(update={"schedule": longer}), folder / f"{name}-{alpha:g}")
        self.step_means = StepMeans(self.run.process)
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
        self.run.train_step(batch, self.step_means)
        return time.perf_counter() - begun


def passes(stepper: Stepper) -> dict[str, float]:
    """Images through a whole network in one step, with and without gradient, in units of the batch."""
    counts: dict[str, float] = defaultdict(float)

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(module, SegmentationModel):
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
    from trainers.loop.resource_meter import peak_mib

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
def cost(
    rows: Annotated[Path, typer.Option(help="JSON lines to add to; what it has is not measured again.")],
    only: Annotated[list[str] | None, typer.Option(help="One method; more than once for more. Default: all.")] = None,
) -> None:
    """Measure what a step of every method costs."""
    known = [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []
    done = {(row["method"], row["alpha"]) for row in known}
    for name in only or methods():
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
    ("psmt", 1, {"method.warmup_passes": 40.0}),
    ("u2pl", 1, {}),
    ("u2pl", 1, {"method.contrast_weight": 0.0}),
    ("meanteacher", 1, {}),
    ("meanteacher", 1, {"method.consistency_weight": 1.0}),
    ("pseudoseg", 1, {}),
    ("pseudoseg", 1, {"method.pseudo_weight": 0.0}),
    ("pc2seg", 1, {}),
    ("pc2seg", 1, {"method.consistency_weight": 1.0}),
    ("pc2seg", 1, {"method.contrast_weight": 0.0}),
)
"""Method, seed and what is set otherwise than in the study. What decays do is in the table."""


@app.command()
def causes(
    only: Annotated[str | None, typer.Option(help="One method.")] = None,
) -> None:
    """Train one run for each of `CAUSES`, without the inter-pixel loss, and print its last line."""
    for name, seed, changes in CAUSES:
        if only not in (None, name):
            continue
        last = trained(name, 0.0, {"seed": seed, **changes})
        said = f"val/miou {last['val/miou']:.1f}" if isinstance(last, dict) else last.stderr.strip().splitlines()[-1]
        typer.echo(f"{name}, seed {seed}, {changes or 'as in the study'}: {said}")


def trained(name: str, alpha: float, changes: dict[str, Any]) -> dict[str, Any] | subprocess.CompletedProcess[str]:
    """The last record of a run in a process of its own, with ``steps``; what the process said where it failed."""
    data = config_of(name, alpha).model_dump(mode="json")
    for key, value in changes.items():
        set_dotted(data, key, value)
    with tempfile.TemporaryDirectory() as folder:
        config, run_dir = Path(folder) / "config.yaml", Path(folder) / "run"
        config.write_text(json.dumps(data))
        command = [sys.executable, "-m", "trainers.train", str(config), "--run-dir", str(run_dir)]
        said = subprocess.run(command, check=False, capture_output=True, text=True)
        if said.returncode:
            return said
        records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    seconds = sum(record["time/epoch_s"] for record in records)
    steps = data["schedule"]["epochs"] * data["schedule"]["steps_per_epoch"]
    last: dict[str, Any] = records[-1]
    return last | {"time/epoch_s": seconds, "steps": steps}


@app.command()
def run(
    rows: Annotated[Path, typer.Option(help="JSON lines to add to; what it has is not trained again.")],
    only: Annotated[
        list[str] | None, typer.Option(help="Methods to train, in this order; all of them unless given.")
    ] = None,
    decay: Annotated[
        float | None, typer.Option(help="`method.ema_decay` of all methods that have one, others left out.")
    ] = None,
) -> None:
    """Train every method with and without the inter-pixel loss, each seed, one run after the other."""
    for name in only or methods():
        if decay is not None and not averages(name):
            continue
        for alpha, seed in itertools.product((0.0, 1.0), SEEDS):
            key = {"method": name, "decay": decay, "alpha": alpha, "seed": seed}
            known = [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []
            if any(all(row[part] == value for part, value in key.items()) for row in known):
                continue
            changes = {} if decay is None else {"method.ema_decay": decay}
            row = key | {"commit": commit()} | outcome(trained(name, alpha, {"seed": seed, **changes}))
            typer.echo(json.dumps(row))
            with rows.open("a") as file:
                file.write(json.dumps(row) + "\n")


def averages(name: str) -> bool:
    """Whether the method's teacher is an average as the study has it."""
    method = config_of(name, 0.0).method
    return hasattr(method, "ema_decay") and getattr(method, "teacher", "ema") == "ema"


def outcome(said: subprocess.CompletedProcess[str] | dict[str, Any]) -> dict[str, Any]:
    """What a row has of a run: its score and steps, or why it failed."""
    if isinstance(said, dict):
        return {"miou": said[SCORE], "steps": said["steps"], "seconds": round(said["time/epoch_s"])}
    return {"failed": said.stderr.strip().splitlines()[-1]}


def commit() -> str:
    """The commit of this tree, with a + where files differ from it."""
    command = ["git", "-C", str(STUDY.parent), "describe", "--always", "--dirty=+", "--abbrev=7", "--exclude=*"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@app.command()
def table(
    runs: Annotated[Path, typer.Option(help="What `run` wrote.")],
    costs: Annotated[Path, typer.Option(help="What `cost` wrote.")],
    out: Annotated[Path, typer.Option(help="Markdown file to write.")],
) -> None:
    """Write the table."""
    read_runs, read_costs = ([json.loads(line) for line in one.read_text().splitlines()] for one in (runs, costs))
    out.write_text(render(read_runs, costs=read_costs))
    typer.echo(out.read_text())


if __name__ == "__main__":
    app()
