"""Does the fast path give equal results? The same trainings with every optimisation on, in fp32 and in bf16 autocast,
and with every one off (fp32, plain operators, each image on its own), paired by seed.

    python -m benchmarks.fast_equal run --folder studies/fast-equal              # goes on where it was left
    python -m benchmarks.fast_equal table --folder studies/fast-equal --out benchmarks/results/fast_equal_202611.md

Equal means: the interval of the mean paired difference lies inside +-0.5 mIoU. The first look is at five seeds, and
each pair up to the thirteenth is another one: intervals hold at all of these looks together. Scored on 2,000 scenes of
the scans that are held out for validation, the official 100 among them: on those alone, a single digit of which two
networks differ is worth up to 0.4 mIoU.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

CONFIG = Path(__file__).with_suffix(".yaml")
PLAIN = "plain"
ARMS = (PLAIN, "fast", "bf16")
FIRST, LAST = 5, 13
"""Seeds at the first look, and at most."""
DELTA = 0.5
"""mIoU."""
SCENES = 2000
SCORED = "scored.json"

Folder = Annotated[Path, typer.Option(help="Where the trainings lie.")]


@app.command()
def run(
    folder: Folder,
    seeds: Annotated[int, typer.Option(min=FIRST, max=LAST)] = FIRST,
    only: Annotated[list[str] | None, typer.Option(help=f"Some of: {', '.join(ARMS)}.")] = None,
    jobs: Annotated[int, typer.Option(help="Trainings at a time, of one thread each.")] = 2,
) -> None:
    """Train with every seed; one that is finished or begun is gone on with."""
    pairs = [(arm, seed) for seed in range(seeds) for arm in only or ARMS]
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda pair: _train(folder, *pair), pairs))


def _train(folder: Path, arm: str, seed: int) -> None:
    command = [sys.executable, "-m", "benchmarks.fast_equal", "one", arm, str(seed), "--folder", str(folder)]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    typer.echo(f"{arm} {seed}: {scores(folder)[arm][seed]:.2f}")


@app.command(hidden=True)
def one(arm: str, seed: int, folder: Folder) -> None:
    """One training, in a process of its own since switches are for good."""
    from benchmarks.helpers.step_plain import OPTIMISATIONS, switch_off
    from trainers.cli.train import load
    from trainers.loop.fit import fit

    overrides = [f"seed={seed}"]
    if arm == PLAIN:
        switch_off(tuple(OPTIMISATIONS))
        overrides.append("precision.channels_last=false")
    if arm == "bf16":
        overrides.append("precision.amp=bf16")
    training = folder / arm / str(seed)
    fit(load(CONFIG, overrides), training)
    if not (training / SCORED).exists():
        (training / SCORED).write_text(json.dumps(_score(training)))


def _score(training: Path) -> float:
    """mIoU of the last weights, %, computed as the training computes."""
    import torch

    from trainers.cli.train import load
    from trainers.data.digits import CLASSES
    from trainers.data.layout import Layout, cache_folder, plain_columns
    from trainers.data.lists import read_split
    from trainers.data.read import Reader
    from trainers.data.scenes import LISTS, Scenes, cached_scenes
    from trainers.loop import checkpoint_files
    from trainers.loop.evaluate import evaluate
    from trainers.loop.process_group import current
    from trainers.models.build import build_model

    config = load(training / "config.yaml", [])
    root = cached_scenes(cache_folder(), seed=0, scenes=Scenes(val=SCENES))
    layout = Layout(root=root, classes=CLASSES, resolve=plain_columns, version=root.name)
    student = build_model(config.model, num_classes=len(CLASSES), seed=0)
    student.load_state_dict(checkpoint_files.load(training / "checkpoints" / checkpoint_files.LAST)["student"])
    if config.precision.channels_last:
        student.to(memory_format=torch.channels_last)
    found = evaluate(
        {"student": student},
        read_split(root / LISTS["val"], layout, labelled=True),
        config=config,
        reader=Reader(num_classes=len(CLASSES)),
        num_classes=len(CLASSES),
        process=current("cpu"),
        main="student",
        prefix="scenes",
    )
    return found["scenes/miou"]


def scores(folder: Path) -> dict[str, dict[int, float]]:
    """By arm and seed, of the trainings that were scored."""
    return {
        arm: {int(file.parent.name): json.loads(file.read_text()) for file in (folder / arm).glob(f"*/{SCORED}")}
        for arm in ARMS
    }


@app.command()
def table(folder: Folder, out: Annotated[Path, typer.Option(help="A Markdown file.")]) -> None:
    """Write the verdict."""
    from analysis.stats.confirm.error_schedule import Schedule
    from analysis.stats.confirm.paired_verdict import compare, paired_differences
    from trainers.cli.train import load

    found = scores(folder)
    seeds = sorted(found[PLAIN].keys() & found["fast"].keys())
    if len(seeds) < FIRST:
        raise typer.BadParameter(f"{folder} has {len(seeds)} finished pairs, the first look is at {FIRST}; `run` first")
    config = load(folder / PLAIN / str(seeds[0]) / "config.yaml", [])
    schedule = config.schedule
    verdicts = [
        compare(
            arm,
            PLAIN,
            paired_differences(found, arm, PLAIN, sign=1),
            schedule=Schedule(first=FIRST, stops=(LAST,), error=0.05),
            delta=DELTA,
        )
        for arm in ARMS
        if arm != PLAIN
    ]
    lines = [
        "# Fast path against plain path: equal results?",
        "",
        f"`digits`, {schedule.epochs} epochs of {schedule.steps_per_epoch} steps, learning rate {config.optim.lr:g}, "
        f"mIoU in % on {SCENES:,} scenes of held-out scans after the last one, {len(seeds)} seeds, paired. plain: "
        "fp32, channels first, every switch of `benchmarks/helpers/step_plain.py` off. fast: the defaults. bf16: "
        "those and "
        "`precision.amp: bf16`.",
        "",
        "| seed | plain | fast | bf16 | fast - plain | bf16 - plain |",
        "|---|---|---|---|---|---|",
    ]
    for seed in seeds:
        scored = [found[arm].get(seed) for arm in ARMS]
        apart = [None if one is None else one - found[PLAIN][seed] for one in scored[1:]]
        cells = [_shown(one, ".2f") for one in scored] + [_shown(one, "+.2f") for one in apart]
        lines.append(f"| {seed} | {' | '.join(cells)} |")
    lines += [
        "",
        f"Equal would be within ±{DELTA} mIoU; each interval of 95 % holds for itself, at all looks together:",
        "",
    ]
    lines += [f"- {verdict.words}" for verdict in verdicts]
    times = ", ".join(f"{arm} {_epoch_seconds(folder / arm):.1f} s" for arm in ARMS)
    lines += [
        "",
        f"Median epoch: {times} (not alternating: the order only).",
        "",
        "Commands: `python -m benchmarks.fast_equal run --folder studies/fast-equal`, then `table`.",
        f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, torch {version('torch')}; "
        f"{platform.machine()}, {os.cpu_count()} cores, no GPU.",
        "",
    ]
    out.write_text("\n".join(lines))
    typer.echo(out.read_text())


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"


def _epoch_seconds(folder: Path) -> float:
    rows = [json.loads(line) for file in folder.glob("*/metrics.jsonl") for line in file.read_text().splitlines()]
    return float(statistics.median(row["time/epoch_s"] for row in rows))


if __name__ == "__main__":
    app()
