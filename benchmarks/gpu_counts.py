"""Device operators and host waits of a training step on a GPU, counted without one (`fake_cuda`).

    python -m benchmarks.gpu_counts count --rows gpu_counts.jsonl --label before   # in a checkout of the older commit
    python -m benchmarks.gpu_counts count --rows gpu_counts.jsonl --label after
    python -m benchmarks.gpu_counts fills --rows gpu_counts.jsonl
    python -m benchmarks.gpu_counts table --rows gpu_counts.jsonl --out benchmarks/results/gpu_counts_202611.md
    python -m benchmarks.gpu_counts joined --rows joined.jsonl --out benchmarks/results/gpu_counts_202611.md

For an older commit: `git worktree add`, copy `fake_cuda.py`, `counted_step.py` and this file into its `benchmarks/`,
take out of `fake_cuda.py` what that commit does not have (the table of upsampling weights), and run there.

The third step of each method is counted, with everything that the method does switched on: the batch's views, losses,
backward pass, optimisers, teachers. Data: `digits` (11 classes), crop 65, 4 + 4 images, the small network, fp32, one
process, deterministic mode, which is the default.
"""

import json
import os
import subprocess
import tempfile
import warnings
from collections import Counter
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.helpers.counted_step import WARM_UP, counted_step
from benchmarks.helpers.method_settings import SETTINGS, most, section, stages

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Of one step: ``waits`` by line of the packages' code and operator."""

    operators: int
    waits: Counter[str]


def config_of(method: str, *, crop: int, batch: int, deterministic: bool, interpixel: bool) -> Any:
    """The training config that is counted."""
    from trainers.config import TrainConfig

    chosen = section(most(method))
    count = stages(chosen)
    return TrainConfig.model_validate(
        {
            "data": {
                "name": "digits",
                "crop": crop,
                "batch_size": batch,
                "holdout": {"images": 4, "source": "unlabelled"},
                **({"draw": {"labelled": 220}} if count > 1 else {}),  # leaves few unlabelled images to label
            },
            "method": chosen,
            "model": {"backbone": "small", "weights": "none"},
            "interpixel": {"alpha": 1.0 if interpixel else 0.0, "resolution": "stride4"},
            "schedule": {"epochs": count, "steps_per_epoch": WARM_UP + 2},  # the next batch is made meanwhile
            "precision": {"device": "cuda", "deterministic": deterministic},
        }
    )


def counted(
    method: str, *, crop: int = 65, batch: int = 4, deterministic: bool = True, interpixel: bool = False
) -> Counted:
    """One step of a method, of its last stage where it has several."""
    config = config_of(method, crop=crop, batch=batch, deterministic=deterministic, interpixel=interpixel)
    count = counted_step(config)
    return Counted(operators=count.operators, waits=Counter(count.waits))


@app.command()
def count(
    rows: Annotated[Path, typer.Option(help="JSON lines; rows are added.")],
    label: Annotated[str, typer.Option(help="Which side of the comparison this is: before or after.")],
    method: Annotated[list[str] | None, typer.Option(help="Only these methods.")] = None,
) -> None:
    """Count every method."""
    warnings.filterwarnings("ignore")
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True)
    for name in method or SETTINGS:
        for deterministic in (True, False):
            found = counted(name, deterministic=deterministic)
            row = {
                "label": label,
                "commit": commit.stdout.strip(),
                "torch": torch.__version__,
                "method": name,
                "deterministic": deterministic,
                "operators": found.operators,
                "waits": found.waits.total(),
                "where": dict(found.waits.most_common()),
            }
            with rows.open("a") as file:
                file.write(json.dumps(row) + "\n")
            typer.echo(
                f"{name:12} deterministic {deterministic!s:5} operators {found.operators:6} waits {row['waits']}"
            )
            if deterministic:
                for where, times in found.waits.most_common():
                    typer.echo(f"    {times:3} {where}")


@app.command()
def table(
    rows: Annotated[Path, typer.Option(help="JSON lines that `count` wrote.")],
    out: Annotated[Path, typer.Option(help="The page to write.")],
) -> None:
    """Before and after, side by side."""
    out.write_text(page([json.loads(line) for line in rows.read_text().splitlines()]))


@app.command()
def joined(
    rows: Annotated[Path, typer.Option(help="JSON lines that `count --label after` wrote.")],
    out: Annotated[Path, typer.Option(help="The page to add them to.")],
) -> None:
    """Methods that joined after the older side."""
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    out.write_text(out.read_text().rstrip() + "\n\n" + joined_section(found))


def joined_section(rows: list[dict[str, Any]]) -> str:
    """The table of counts that have no older side."""
    found = {(row["method"], row["deterministic"]): row for row in rows}
    commits = ", ".join(sorted({row["commit"] for row in rows}))
    lines = [
        "## Methods that joined since",
        "",
        f"Commit {commits}, PyTorch {rows[0]['torch']}, in the same way; {date.today()}.",
        "",
        "| method | waits, deterministic mode (the default) | waits otherwise | operators, deterministic mode |",
        "|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["method"] for row in rows):
        cells = [found[name, True]["waits"], found[name, False]["waits"], found[name, True]["operators"]]
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    where = [f"{times} x `{place}` ({row['method']})" for row in rows for place, times in row["where"].items()]
    lines += ["", f"Where the host waits: {'; '.join(where) or 'nowhere'}."]
    return "\n".join(lines) + "\n"


def page(rows: list[dict[str, Any]]) -> str:
    """The table, its conditions, and where each wait of the older side was."""
    sides = {(row["label"], row["method"], row["deterministic"]): row for row in rows if "method" in row}
    names = [name for name in SETTINGS if ("before", name, True) in sides and ("after", name, True) in sides]
    commits = {label: sides[label, names[0], True]["commit"] for label in ("before", "after")}
    lines = [
        "# Host waits and device operators of a training step, before and after",
        "",
        f"`python -m benchmarks.gpu_counts` on commit {commits['before']} (before) and {commits['after']} (after), "
        f"PyTorch {sides['after', names[0], True]['torch']}, no GPU: counted on tensors that only say they are on one "
        "(`benchmarks/helpers/fake_cuda.py`). The third step of each method on `digits` (11 classes), crop 65, 4 + 4 "
        "images, "
        "small network, fp32, one process, no inter-pixel loss, all switched on that the method can ask for. "
        f"Written on {date.today()}; on a machine with {os.cpu_count()} cores, on which the counts do not depend.",
        "",
        "A host wait is what `torch.cuda.set_sync_debug_mode` warns of. The counts before grow with classes and "
        "images, those after do not. An operator is a kernel launch or more: a scatter in deterministic mode counts as "
        "one operator, and is an arange and a copy for each dimension, a product, a sum and a sort. The look at the "
        "losses every 50 steps is left out.",
        "",
        "| method | waits, deterministic mode (the default) | waits otherwise | operators, deterministic mode |",
        "|---|---|---|---|",
    ]
    for name in names:
        cells = [
            " to ".join(str(sides[label, name, deterministic][key]) for label in ("before", "after"))
            for key, deterministic in (("waits", True), ("waits", False), ("operators", True))
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "Where the host waited before, in deterministic mode: times, line and operator.", ""]
    for name in names:
        where = sides["before", name, True]["where"]
        lines.append(f"- {name}: " + "; ".join(f"{times} x `{place}`" for place, times in where.items()))
    lines += ["", "Where it waits after:", ""]
    for name in names:
        where = sides["after", name, True]["where"]
        if where:
            lines.append(f"- {name}: " + "; ".join(f"{times} x `{place}`" for place, times in where.items()))
    for row in rows:
        if "fills" in row:
            lines += [
                "",
                f"Fills of uninitialised memory in a step of {row['of']} in deterministic mode, by the profiler "
                f"on the CPU: {row['fills'][0]} by default, {row['fills'][1]} in a run.",
            ]
    return "\n".join(lines) + "\n"


@app.command()
def fills(
    rows: Annotated[Path, typer.Option(help="JSON lines; a row is added.")],
    method: Annotated[str, typer.Option(help="Whose step.")] = "unimatch",
) -> None:
    """Count the tensors that are filled because deterministic mode fills uninitialised memory."""
    row = {"of": method, "fills": [_fills(method, filled) for filled in (True, False)]}
    with rows.open("a") as file:
        file.write(json.dumps(row) + "\n")
    typer.echo(json.dumps(row))


def _fills(method: str, filled: bool) -> int:
    """Fills of one step on the CPU above those that there are without deterministic mode."""
    from torch.profiler import ProfilerActivity, profile

    from trainers.loop.fit import numerics
    from trainers.loop.run import Run
    from trainers.loop.step_means import StepMeans

    found = []
    for deterministic in (True, False):
        config = config_of(method, crop=65, batch=4, deterministic=deterministic, interpixel=False)
        config = config.model_copy(update={"precision": config.precision.model_copy(update={"device": "cpu"})})
        with tempfile.TemporaryDirectory() as folder, numerics(config.precision):
            torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
            run = Run(config, Path(folder))
            batch, step_means = next(iter(run.loader.epoch(0))), StepMeans(run.process)
            run.train_step(batch, step_means)
            with profile(activities=[ProfilerActivity.CPU]) as profiled:
                run.train_step(batch, step_means)
            found.append(sum(one.count for one in profiled.key_averages() if one.key == "aten::fill_"))
            run.close()
    return int(found[0] - found[1])


if __name__ == "__main__":
    app()
