"""Time from a trial's start to the end of its first training step, cold and warm, beside a bare torchrun.

    python -m benchmarks.startup measure --rounds 5 --rows startup.jsonl
    python -m benchmarks.startup table --rows startup.jsonl --out benchmarks/results/startup_202611.md

A round is a torchrun of one process, one of two, a study of one worker per trial and one of two workers per trainable,
each in processes of its own; rounds can be added to the same file of rows. All train the same config, of the demo's
size."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.helpers.startup_tables import PARTS, TRIALS, page
from ipix_tune.trainer.peers import Peers

app = typer.Typer(add_completion=False)

STUDY = """
name: startup{workers}
storage: {folder}
trainer:
  data: {{name: digits, crop: 64, batch_size: 4, holdout: {{images: 4, source: unlabelled}}}}
  method: {{name: unimatch, conf_thresh: 0.7}}
  model: {{backbone: small, weights: none, upsample: nearest}}
  interpixel: {{alpha: 1, resolution: stride4}}
  schedule: {{epochs: 1, steps_per_epoch: 4}}
search:
  optim.lr: {{choice: [0.2, 0.1, 0.05, 0.02]}}
sampler: {{name: grid}}
scheduler: {{name: none}}
budget: {{trials: 4}}
resources: {{workers: {workers}, cpus_per_worker: 1, concurrent: 1}}
"""


class Notes:
    """Times at which things first happened, for one training in this process; rank 0's are written."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._times: dict[str, float] = {}
        self._undo: Callable[[], None]

    def note(self, part: str) -> None:
        self._times.setdefault(part, time.time())

    def watch(self) -> None:
        """Note what the trainer does from here on, and write it after the first step."""
        from trainers.data.open import open_data as opened
        from trainers.loop import run

        built, stepped = run.Run.__init__, run.Run.train_step

        def open_data(*given: Any, **named: Any) -> Any:
            data = opened(*given, **named)
            self.note("data")
            return data

        def build(one: Any, *given: Any) -> None:
            built(one, *given)
            self.note("built")

        def step(one: Any, *given: Any) -> None:
            stepped(one, *given)
            self.note("stepped")
            if one.step == 1 and one.process.rank == 0:
                with self._file.open("a") as stream:
                    stream.write(json.dumps(self._times) + "\n")

        def put(data: Any, init: Any, train_step: Any) -> None:
            run.open_data = data  # type: ignore[attr-defined]
            run.Run.__init__, run.Run.train_step = init, train_step  # type: ignore[method-assign]

        put(open_data, build, step)
        self._undo = lambda: put(opened, built, stepped)

    def stop(self) -> None:
        self._undo()


def timed_in_actor(config: dict[str, Any]) -> None:
    """A trial of one worker, watched."""
    notes = Notes(Path(os.environ["STARTUP_NOTES"]))
    notes.note("started")
    notes.note("workers")
    from ipix_tune.execution import trainable

    notes.note("imported")
    notes.watch()
    try:
        trainable.in_actor(config)
    finally:
        notes.stop()


def timed_over_workers(config: dict[str, Any]) -> None:
    """A trial of several workers, watched."""
    from ipix_tune.execution import trainable

    began, work = time.time(), trainable._on_worker

    def timed(config: dict[str, Any], send: Any, peers: Peers) -> None:
        notes = Notes(Path(os.environ["STARTUP_NOTES"]))
        notes._times["started"] = config["began"]
        notes.note("workers")

        notes.note("imported")
        notes.watch()
        try:
            work(config, send, peers)
        finally:
            notes.stop()

    trainable._on_worker = timed
    try:
        trainable.over_workers({**config, "began": began})
    finally:
        trainable._on_worker = work


@app.command(hidden=True)
def bare(file: Path, run_dir: Path) -> None:
    """What torchrun runs: `trainers.train`, watched."""
    notes = Notes(Path(os.environ["STARTUP_NOTES"]))
    notes.note("started")
    from trainers.cli.train import load, process_group
    from trainers.loop.fit import fit

    notes.note("imported")
    config = load(file, [])
    with process_group(config):
        notes.note("workers")
        notes.watch()
        fit(config, run_dir)


@app.command(hidden=True)
def study(workers: int, folder: Path) -> None:
    """A study whose trials are watched; prints when each was asked for."""
    from rich.console import Console

    from ipix_tune.config.load_study import load
    from ipix_tune.execution import trainable
    from ipix_tune.search.ray_searcher import TrialStoreSearcher
    from ipix_tune.study import run_search as studies

    suggest = TrialStoreSearcher.suggest
    asked: list[float] = []

    def noted(search: TrialStoreSearcher, trial_id: str) -> Any:
        began = time.time()
        found = suggest(search, trial_id)
        if isinstance(found, dict):
            asked.append(began)
        return found

    TrialStoreSearcher.suggest = noted  # type: ignore[assignment, method-assign]
    in_actor, over_workers = trainable.in_actor, trainable.over_workers
    trainable.in_actor, trainable.over_workers = timed_in_actor, timed_over_workers
    file = folder / "study.yaml"
    file.write_text(STUDY.format(workers=workers, folder=folder))
    try:
        studies.run(load(file), resume=False, address=None, console=Console(quiet=True))
    finally:
        trainable.in_actor, trainable.over_workers = in_actor, over_workers
    typer.echo(json.dumps(asked))


@app.command()
def measure(
    rows: Annotated[Path, typer.Option(help="JSON lines; rounds are added.")],
    rounds: Annotated[int, typer.Option()] = 1,
) -> None:
    """Run rounds and add their times to the file of rows."""
    for _ in range(rounds):
        for shape, workers in (("torchrun", 1), ("study", 1), ("torchrun", 2), ("study", 2)):
            load = os.getloadavg()[0]
            with tempfile.TemporaryDirectory() as place:
                found = _torchrun(workers, Path(place)) if shape == "torchrun" else _study(workers, Path(place))
            with rows.open("a") as stream:
                for one in found:
                    stream.write(json.dumps({"shape": shape, "workers": workers, "load": load, **one}) + "\n")
                    typer.echo(f"{shape} {workers}: {one['start']} {sum(one['parts'].values()):.2f} s {one['parts']}")


def _called(command: list[str], notes: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        env={**os.environ, "STARTUP_NOTES": str(notes), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return done.stdout


def _torchrun(workers: int, place: Path) -> list[dict[str, Any]]:
    from ipix_tune.config.load_study import load
    from ipix_tune.config.search_space import SearchSpace
    from trainers.common.yaml_file import dump

    (place / "study.yaml").write_text(STUDY.format(workers=workers, folder=place))
    (place / "config.yaml").write_text(dump(SearchSpace(load(place / "study.yaml")).to_config({"optim.lr": 0.2})))
    began = time.time()
    launcher = ["torch.distributed.run", "--nproc-per-node", str(workers), "-m", "benchmarks.startup", "bare"]
    _called([*launcher, str(place / "config.yaml"), str(place / "run")], place / "notes")
    return [_row("torchrun", began, json.loads((place / "notes").read_text()))]


def _study(workers: int, place: Path) -> list[dict[str, Any]]:
    asked = json.loads(_called(["benchmarks.startup", "study", str(workers), str(place)], place / "notes"))
    notes = [json.loads(line) for line in (place / "notes").read_text().splitlines()]
    assert len(asked) == len(notes) == TRIALS, (asked, notes)
    return [_row("warm" if number else "cold", *one) for number, one in enumerate(zip(asked, notes, strict=True))]


def _row(start: str, began: float, times: dict[str, float]) -> dict[str, Any]:
    """Seconds that each part took, in the order in which they came."""
    parts, last = {}, began
    for part in sorted(PARTS, key=lambda part: times[part]):
        parts[part], last = times[part] - last, times[part]
    return {"start": start, "parts": parts}


@app.command()
def table(
    rows: Annotated[Path, typer.Option(help="What `measure` wrote.")],
    out: Annotated[Path, typer.Option(help="A Markdown file.")],
) -> None:
    """Write the table of all rounds."""
    out.write_text(page(rows, out))


if __name__ == "__main__":
    app()
