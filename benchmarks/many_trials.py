"""The driver under a thousand trials: its CPU, its memory, and how late results reach it.

    python -m benchmarks.many_trials --trials 1000 --concurrent 40 --out benchmarks/results/many_trials_202611

Real Ray, real journal, ASHA and W&B files; only the training is not real: a trial sleeps and reports made-up scores.
Writes <out>.md and <out>.png.
"""

import itertools
import platform
import random
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import matplotlib.pyplot as plt
import numpy as np
import psutil
import typer
from rich.console import Console

from ipix_tune import study as studies
from ipix_tune import trial
from ipix_tune.scheduler import EPOCH, SCORE
from ipix_tune.studyfile import load
from ipix_tune.tracking import Tracker

EPOCHS, SLEEP_S, LOOK_S = 4, 0.5, 2.0
SENT = "time/sent"

STUDY = """
name: many
storage: {storage}
trainer:
  data: {{name: digits, crop: 32, batch_size: 2, holdout: {{images: 4, source: unlabelled}}}}
  method: {{name: unimatch}}
  model: {{backbone: small, weights: none}}
  schedule: {{epochs: {epochs}, steps_per_epoch: 1}}
search:
  interpixel.alpha: {{loguniform: [0.01, 10]}}
  interpixel.tau: {{uniform: [0, 0.98]}}
  interpixel.distance: {{choice: [kl, cr]}}
sampler: {{name: {sampler}}}
scheduler: {{name: asha, grace_epochs: 1, reduction: 2}}
budget: {{trials: {trials}}}
resources: {{cpus_per_worker: {cpus}, concurrent: {concurrent}}}
"""


def pretend(config: dict[str, Any]) -> None:
    """A trial without a training: waits, and reports scores that grow."""
    from ray import tune

    draw = random.Random(config["key"])
    level = draw.random()
    for epoch in range(1, EPOCHS + 1):
        time.sleep(SLEEP_S * (0.5 + draw.random()))
        score = 50 + 10 * level + epoch + draw.gauss(0, 0.5)
        metrics = {"val/miou": score, SENT: time.time()}
        tune.report({EPOCH: epoch, "split_hash": "none", "metrics": metrics, SCORE: score})


class Meter:
    """Samples this process while trials end, and the delay of every result."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, int, float, float]] = []
        """Seconds, trials ended, CPU share of one core, resident MiB."""
        self.delays: list[tuple[float, float]] = []
        """Seconds, delay in seconds."""
        self._ended = 0
        self._began = time.monotonic()
        self._over = threading.Event()

    def install(self) -> None:
        log, finish = Tracker.log, Tracker.finish

        def timed(tracker: Tracker, key: str, *, epoch: int, metrics: dict[str, float]) -> None:
            self.delays.append((time.monotonic() - self._began, time.time() - metrics[SENT]))
            log(tracker, key, epoch=epoch, metrics=metrics)

        def counted(tracker: Tracker, key: str, **how: Any) -> None:
            self._ended += 1
            finish(tracker, key, **how)

        Tracker.log, Tracker.finish = timed, counted  # type: ignore[method-assign]
        threading.Thread(target=self._sample, daemon=True).start()

    def _sample(self) -> None:
        me = psutil.Process()
        me.cpu_percent()
        while not self._over.wait(LOOK_S):
            resident = me.memory_info().rss / 2**20
            self.rows.append((time.monotonic() - self._began, self._ended, me.cpu_percent() / 100, resident))

    def end(self) -> None:
        self._over.set()


def main(
    trials: Annotated[int, typer.Option()] = 1000,
    concurrent: Annotated[int, typer.Option(help="Trials at once; a process of some 150 MB each.")] = 40,
    sampler: Annotated[str, typer.Option()] = "tpe",
    out: Annotated[Path, typer.Option(help="Results go to <out>.md and <out>.png.")] = Path("many_trials"),
) -> None:
    """Run the study and write what it cost the driver."""
    trial.in_actor = pretend
    meter = Meter()
    with tempfile.TemporaryDirectory() as storage:
        file = Path(storage) / "many.yaml"
        file.write_text(
            STUDY.format(
                storage=storage,
                epochs=EPOCHS,
                sampler=sampler,
                trials=trials,
                concurrent=concurrent,
                cpus=psutil.cpu_count() / concurrent * 0.99,
            )
        )
        meter.install()
        began = time.monotonic()
        outcome = studies.run(load(file), resume=False, address=None, console=Console(quiet=True))
        took = time.monotonic() - began
        meter.end()
    text = describe(meter, trials=trials, concurrent=concurrent, sampler=sampler, took=took, headline=outcome.headline)
    draw(meter, out.with_suffix(".png"), trials=trials, concurrent=concurrent)
    out.with_suffix(".md").write_text(text)
    typer.echo(text)


def describe(meter: Meter, *, trials: int, concurrent: int, sampler: str, took: float, headline: str) -> str:
    """The figures as Markdown, by quarter of the trials."""
    rows, delays = np.array(meter.rows), np.array(meter.delays)
    lines = [
        "# The driver under many trials",
        "",
        f"{headline}. {took:.0f} s, {trials / took:.1f} trials/s, {len(delays)} results, {concurrent} at once, "
        f"{sampler}, ASHA.",
        "",
        "| trials ended | CPU, share of one core | memory, MiB | delay of a result, median, s | 95 %, s |",
        "|---|---|---|---|---|",
    ]
    edges = np.linspace(0, trials, 5)
    for low, high in itertools.pairwise(edges):
        part = rows[(rows[:, 1] >= low) & (rows[:, 1] <= high)]
        if not len(part):
            continue
        within = delays[(delays[:, 0] >= part[0, 0]) & (delays[:, 0] <= part[-1, 0]), 1]
        lines.append(
            f"| {low:.0f} to {high:.0f} | {part[:, 2].mean():.2f} | {part[0, 3]:.0f} to {part[-1, 3]:.0f} | "
            f"{np.median(within):.2f} | {np.quantile(within, 0.95):.2f} |"
        )
    later = rows[rows[:, 1] >= trials / 4]
    if len(later) > 2:
        slope = np.polyfit(later[:, 1], later[:, 3], 1)[0] * 1024
        lines += ["", f"Growth over the last three quarters: {slope:.0f} KiB per ended trial."]
    versions = ", ".join(f"{name} {version(name)}" for name in ("ray", "optuna", "wandb"))
    lines += [
        "",
        f"Command: `python -m benchmarks.many_trials {' '.join(sys.argv[1:])}`.",
        f"{datetime.now(UTC):%Y-%m-%d}; Python {platform.python_version()}, {versions}; {platform.machine()}, "
        f"{psutil.cpu_count()} CPU cores, which the trials' processes share with the driver.",
        "",
    ]
    return "\n".join(lines)


def draw(meter: Meter, path: Path, *, trials: int, concurrent: int) -> None:
    """Memory, CPU and delay against trials ended."""
    rows, delays = np.array(meter.rows), np.array(meter.delays)
    figure, (memory, cpu, delay) = plt.subplots(3, sharex=True, figsize=(7, 7), layout="constrained")
    memory.plot(rows[:, 1], rows[:, 3])
    memory.set_ylabel("driver's memory (MiB)")
    cpu.plot(rows[:, 1], rows[:, 2])
    cpu.set_ylabel("driver's CPU (cores)")
    delay.plot(np.interp(delays[:, 0], rows[:, 0], rows[:, 1]), delays[:, 1], ".", markersize=2)
    delay.set_ylabel("delay of a result (s)")
    delay.set_xlabel("trials ended")
    memory.set_title(f"{trials} trials, {concurrent} at once")
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    typer.run(main)
