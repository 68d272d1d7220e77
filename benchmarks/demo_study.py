"""The demo's wall time, with this tree and with a checkout of an earlier one, in alternating runs.

    git worktree add PATH 411f2e1
    python -m benchmarks.demo_study measure --before PATH --rows demo.jsonl --rounds 2
    python -m benchmarks.demo_study table --rows demo.jsonl --out benchmarks/results/demo_study_202611.md

Both run the earlier checkout's study file, since the demo itself was changed later. `equal` is that demo with four
configurations, its point and three random ones, trained to their end, so that both trees train as many epochs; `demo`
is the study as each tree's own search makes it. Each side has a cache of its own, filled by a small study before the
first round.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import pyarrow.parquet
import typer

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

HERE = Path(__file__).resolve().parent.parent
SIDES = ("before", "after")
STUDIES = {
    "equal": ("sampler.name=random", "scheduler.name=none", "budget.trials=4"),
    "demo": (),
}
FILL = ("budget.trials=2", "trainer.schedule.epochs=1", "trainer.schedule.steps_per_epoch=2", "scheduler.name=none")


@app.command()
def measure(
    before: Annotated[Path, typer.Option(help="A checkout of the commit to compare with.", exists=True)],
    rows: Annotated[Path, typer.Option(help="JSON lines, added to.")],
    rounds: int = 2,
) -> None:
    """Run every study once a round on each side, the side that goes first taking turns."""
    trees = dict(zip(SIDES, (before.resolve(), HERE), strict=True))
    file = trees["before"] / "search_spaces" / "digits.yaml"
    with tempfile.TemporaryDirectory() as work:
        for side, tree in trees.items():
            _study(tree, file, Path(work) / side, "fill", FILL)
        for number in range(rounds):
            for name, overrides in STUDIES.items():
                for side in SIDES if number % 2 == 0 else SIDES[::-1]:
                    row = _study(trees[side], file, Path(work) / side, f"{name}{number}", overrides)
                    row |= {"study": name, "side": side, "commit": _commit(trees[side])}
                    with rows.open("a") as out:
                        out.write(json.dumps(row) + "\n")
                    typer.echo(row)


def _study(tree: Path, file: Path, work: Path, name: str, overrides: tuple[str, ...]) -> dict[str, object]:
    """Wall time, epochs, and seconds in which trials trained and were evaluated, of one study in a fresh process."""
    work.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "ipix_tune.sweep", str(file), "--name", name]
    environment = {**os.environ, "PYTHONPATH": str(tree), "XDG_CACHE_HOME": str(work / "cache")}
    start = time.perf_counter()
    ended = subprocess.run(
        [*command, *(f"--set={one}" for one in overrides)],
        cwd=work,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    wall = time.perf_counter() - start
    if ended.returncode:
        raise RuntimeError(f"{tree}: the study ended with {ended.returncode}: {ended.stderr[-2000:]}")
    history = pyarrow.parquet.read_table(work / "studies" / name / "tables" / "history.parquet").to_pydict()
    evaluated = sum(seconds or 0 for seconds in history["time/eval_s"])
    trained = sum(seconds or 0 for seconds in history["time/epoch_s"])
    return {"wall_s": wall, "epochs": len(history["epoch"]), "trained_s": trained, "evaluated_s": evaluated}


def _commit(tree: Path) -> str:
    return subprocess.run(
        ["git", "-C", str(tree), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()


@app.command()
def table(
    rows: Annotated[Path, typer.Option(help="What `measure` wrote.")],
    out: Annotated[Path, typer.Option(help="A Markdown file.")],
) -> None:
    """Write medians of each side, and their ratio."""
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    commits = {side: {row["commit"] for row in found if row["side"] == side} for side in SIDES}
    lines = [
        "# The demo before and after: wall time",
        "",
        f"`search_spaces/digits.yaml` at {', '.join(sorted(commits['before']))} (before) and "
        f"{', '.join(sorted(commits['after']))} (after), alternating; medians, in brackets the least and the most.",
        "",
        "| study | side | runs | wall (s) | epochs | trained (s) | evaluated (s) | wall, before / after |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for study in STUDIES:
        sides = {side: [row for row in found if (row["study"], row["side"]) == (study, side)] for side in SIDES}
        ratio = _median(sides["before"], "wall_s") / _median(sides["after"], "wall_s")
        for side, ours in sides.items():
            walls = [row["wall_s"] for row in ours]
            lines.append(
                f"| {study} | {side} | {len(ours)} "
                f"| {statistics.median(walls):.0f} ({min(walls):.0f}, {max(walls):.0f}) "
                f"| {_median(ours, 'epochs'):.0f} | {_median(ours, 'trained_s'):.0f} "
                f"| {_median(ours, 'evaluated_s'):.0f} | {f'{ratio:.2f}' if side == 'after' else ''} |"
            )
    lines += [
        "",
        "`equal`: four configurations, the file's point and three random ones, to their end (`"
        + " ".join(f"--set {one}" for one in STUDIES["equal"])
        + "`);",
        "`demo`: the file as it is, in which each side's own search decides how many epochs are trained.",
        "Trained and evaluated: the trials' own clocks, summed; several trials run at a time.",
        "",
        "Commands: `git worktree add PATH 411f2e1`, `python -m benchmarks.demo_study measure --before PATH "
        "--rows demo.jsonl`, then `table`.",
        f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, torch {version('torch')}, "
        f"ray {version('ray')}; {platform.machine()}, {os.cpu_count()} cores, no GPU.",
        "",
    ]
    out.write_text("\n".join(lines))
    typer.echo(out.read_text())


def _median(rows: list[dict[str, float]], key: str) -> float:
    return float(statistics.median(row[key] for row in rows))


if __name__ == "__main__":
    app()
