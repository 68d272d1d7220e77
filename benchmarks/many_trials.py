"""The driver under a thousand trials: its CPU, its memory, and how late results reach it.

    python -m benchmarks.many_trials run --work FOLDER --trials 1000 --concurrent 20 --minutes 7
    python -m benchmarks.many_trials report --work FOLDER --out benchmarks/results/many_trials_202611

Real Ray, real journal, ASHA and W&B files; only the training is not real: a trial sleeps and reports made-up scores.
`run` stops itself after so many minutes and goes on from there when it is called again; `report`, of one folder or
several, writes <out>.md and <out>_<trials at once>.png.
"""

import dataclasses
import json
import os
import random
import signal
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console

from ipix_tune.config.load_study import load
from ipix_tune.execution import trainable
from ipix_tune.search.trial_message import TrialMessage
from ipix_tune.study import run_search as studies
from ipix_tune.tracking.runs import Tracker

EPOCHS = 4
LOOK_S, LOOK_AROUND_S = 1.0, 10.0
"""How often the driver looks at itself, and at the processes that it started."""
SENT = "time/sent"
METER = "meter.jsonl"
KINDS = {"wandb-core": "W&B's service", "raylet": "raylet", "gcs_server": "Ray's GCS", "ray::": "trials' processes"}
"""What the driver starts, by a part of the command line."""

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
resources: {{cpus_per_worker: {cpus:.4f}, concurrent: {concurrent}}}
"""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def pretend(config: dict[str, Any], *, seconds: float) -> None:
    """A trial without a training: waits, and reports scores that grow."""
    from ray import tune

    draw = random.Random(config["key"])
    level = draw.random()
    for epoch in range(1, EPOCHS + 1):
        time.sleep(seconds * (0.5 + draw.random()))
        score = 50 + 10 * level + epoch + draw.gauss(0, 0.5)
        metrics = {"val/miou": score, SENT: time.time()}
        tune.report(TrialMessage(epoch=epoch, score=score, metrics=metrics, split_hash="none").to_result())


@dataclasses.dataclass(kw_only=True)
class Meter:
    """Writes down, line by line, what this process uses while trials end, and how late every result was.

    Args:
        file: JSON lines; every run of the driver adds its own.
        ended: trials that ended before it.
    """

    file: Path
    ended: int
    piece: int

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        self._me = psutil.Process()
        self._over = threading.Event()
        self._stream = self.file.open("a")
        self._used: dict[int, float] = {}
        self._around: dict[str, float] = defaultdict(float)

    def install(self) -> None:
        """From now on results and ends are counted, by wrapping the tracker that every one of them passes."""
        log, finish = Tracker.log, Tracker.finish

        def timed(tracker: Tracker, key: str, *, epoch: int, metrics: dict[str, float]) -> None:
            self._note(kind="result", delay_s=time.time() - metrics[SENT])
            log(tracker, key, epoch=epoch, metrics=metrics)

        def counted(tracker: Tracker, key: str, *, state: Any, **how: Any) -> None:
            self.ended += state != "interrupted"
            finish(tracker, key, state=state, **how)

        Tracker.log, Tracker.finish = timed, counted  # type: ignore[assignment, method-assign]
        threading.Thread(target=self._watch, daemon=True).start()

    def end(self) -> None:
        self._look(around=True)
        self._over.set()

    def _watch(self) -> None:
        last = -LOOK_AROUND_S
        while not self._over.wait(LOOK_S):
            around = time.monotonic() - last > LOOK_AROUND_S
            last = time.monotonic() if around else last
            self._look(around=around)

    def _look(self, *, around: bool) -> None:
        times, resident = self._me.cpu_times(), self._me.memory_info().rss
        used, load = times.user + times.system, os.getloadavg()[0]
        self._note(kind="look", cpu_s=used, rss_mib=resident / 2**20, load=load, **self._children(around))

    def _children(self, around: bool) -> dict[str, Any]:
        """CPU seconds by kind of process since the start, and memory of W&B's service."""
        if not around:
            return {}
        service = 0.0
        for one in self._me.children(recursive=True):
            try:
                line = " ".join(one.cmdline())
                times, resident = one.cpu_times(), one.memory_info().rss
            except psutil.Error:
                continue
            kind = next((name for part, name in KINDS.items() if part in line), "the rest of Ray")
            used = times.user + times.system
            self._around[kind] += used - self._used.get(one.pid, 0.0)
            self._used[one.pid] = used
            service += resident / 2**20 if kind == KINDS["wandb-core"] else 0
        return {"around": dict(self._around), "service_mib": service}

    def _note(self, **what: Any) -> None:
        at = round(time.monotonic() - self.began, 3)
        self._stream.write(json.dumps({"piece": self.piece, "s": at, "ended": self.ended, **what}) + "\n")
        self._stream.flush()


@app.command("run")
def run_piece(
    work: Annotated[Path, typer.Option(help="Folder of the study and of what was measured so far.")],
    trials: Annotated[int, typer.Option()] = 1000,
    concurrent: Annotated[int, typer.Option(help="Trials at once; a process each.")] = 20,
    sampler: Annotated[str, typer.Option()] = "random",
    seconds: Annotated[float, typer.Option(help="Length of an epoch, on the average.")] = 0.5,
    minutes: Annotated[float, typer.Option(help="Stop after so long; call again to go on.")] = 60,
) -> None:
    """Run the study, or go on with it."""
    work = work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    file, record = work / "many.yaml", work / METER
    file.write_text(
        STUDY.format(
            storage=work,
            epochs=EPOCHS,
            sampler=sampler,
            trials=trials,
            concurrent=concurrent,
            cpus=(os.cpu_count() or 1) / concurrent,
        )
    )
    lines = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    last = lines[-1] if lines else {"ended": 0, "piece": -1}
    meter = Meter(file=record, ended=last["ended"], piece=last["piece"] + 1)
    meter._note(
        kind="start",
        command=" ".join(sys.argv[1:]),
        concurrent=concurrent,
        seconds=seconds,
    )
    trainable.in_actor = lambda config: pretend(config, seconds=seconds)
    alarm = threading.Timer(minutes * 60, lambda: os.kill(os.getpid(), signal.SIGINT))
    alarm.daemon = True
    alarm.start()
    meter.install()
    outcome = studies.run(load(file), resume=bool(lines), address=None, console=Console(quiet=True))
    meter.end()
    typer.echo(f"{outcome.headline}; {time.monotonic() - meter.began:.0f} s")
    raise typer.Exit(0 if outcome.cut_short is None else 3)


@app.command()
def report(
    work: Annotated[list[Path], typer.Option(help="As for run; several are reported one after the other.")],
    out: Annotated[Path, typer.Option(help="Results go to <out>.md and <out>_<trials at once>.png.")],
) -> None:
    """Write what was measured."""
    from benchmarks.helpers.many_trials_report import draw, foot, render

    text, commands = ["# The driver under many trials", ""], []
    for folder in work:
        lines = [json.loads(line) for line in (folder / METER).read_text().splitlines()]
        plot = out.with_name(f"{out.name}_{lines[0]['concurrent']}.png")
        draw(lines, plot)
        text += [*render(lines, study=folder / "many"), f"![memory, CPU and delay]({plot.name})", ""]
        commands += [line["command"].replace(str(folder), "FOLDER") for line in lines if line["kind"] == "start"]
    out.with_suffix(".md").write_text("\n".join([*text, *foot(commands)]))


if __name__ == "__main__":
    app()
