"""Learning curves of this very task, recorded: our own trainings on `digits`, drawn evenly, each at full length.

    python -m benchmarks.digits_curves record --folder F      # goes on where it was left
    python -m benchmarks.digits_curves pack --folder F        # benchmarks/digits_curves.parquet
    python -m benchmarks.digits_curves study --out S          # as a study's folder, for `ipix-tune simulate --curves S`
    python -m benchmarks.digits_curves predicted              # how well configurations left out are predicted

The configurations are a scrambled Sobol sequence over the search space of `digits_curves.yaml`, the same ones every
time. All are trained with seed 0 first, then every fifth with two more. `F/rows.jsonl` has a line a training: the
configuration's number, its values, the seed, `val/miou` of every epoch, and how many CPU seconds it took.
"""

import json
import math
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from scipy.stats import qmc
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.neighbors import KNeighborsRegressor

from analysis.ingest import tables
from benchmarks.helpers.recorded_digits import RECORDED, STUDY, Features, RecordedDigits, forest, shipped
from ipix_tune.config.dimension import from_unit
from ipix_tune.config.dimension_config import Dimension
from ipix_tune.config.load_study import load
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.trainer.resources import Value

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

CONFIGURATIONS, DRAW_SEED = 200, 24
SEEDS, EVERY = (0, 1, 2), 5
"""Every configuration is trained with the first seed, every fifth with all."""


def configurations(space: SearchSpace) -> list[dict[str, Value]]:
    """The configurations in their order; one column of the Sobol sequence a dimension."""
    names = list(space.dimensions)
    points = qmc.Sobol(len(names), rng=DRAW_SEED).random(256)[:CONFIGURATIONS]
    return [
        space.draw(lambda name, dimension, row=row: _value(dimension, float(row[names.index(name)])))  # type: ignore[misc]
        for row in points
    ]


def _value(dimension: Dimension, place: float) -> Value:
    if dimension.choice is not None:
        return dimension.choice[int(place * len(dimension.choice))]
    return from_unit(dimension, place)


def trainings() -> list[tuple[int, int]]:
    """Configuration and seed of every training, in order."""
    first = [(number, SEEDS[0]) for number in range(CONFIGURATIONS)]
    return first + [(number, seed) for number in range(0, CONFIGURATIONS, EVERY) for seed in SEEDS[1:]]


def read_rows(file: Path) -> list[dict[str, Any]]:
    """What has been recorded; a line that was cut off is left out."""
    text = file.read_text() if file.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def train(space: SearchSpace, values: dict[str, Value], seed: int) -> tuple[list[float], str | None]:
    """`val/miou` of every epoch that was trained; and why it ended early, where a loss or weight was not finite."""
    from trainers.common.errors import TrainingError
    from trainers.config import TrainConfig
    from trainers.interface.epoch_record import Decision, EpochRecord
    from trainers.loop.fit import fit

    config = space.to_config({"seed": seed, **values})
    assert isinstance(config, TrainConfig)
    scores: list[float] = []

    def note(record: EpochRecord) -> Decision:
        scores.append(record.metrics["val/miou"])
        return Decision.CONTINUE

    with tempfile.TemporaryDirectory() as folder:
        try:
            fit(config, Path(folder) / "run", callbacks=[note])
        except TrainingError as error:
            return scores, str(error)
    return scores, None


@app.command()
def record(
    folder: Annotated[Path, typer.Option(help="Where the rows lie.")],
    most: Annotated[int | None, typer.Option(min=1, help="Trainings of this call; default: all that are left.")] = None,
) -> None:
    """Train what is missing, one after the other, on one core."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "rows.jsonl"
    kept = read_rows(file)
    file.write_text("".join(json.dumps(row) + "\n" for row in kept))
    done = {(row["configuration"], row["seed"]) for row in kept}
    space = SearchSpace(load(STUDY))
    drawn = configurations(space)
    left = [one for one in trainings() if one not in done]
    for number, seed in left[:most]:
        begun = time.process_time()
        scores, failed = train(space, drawn[number], seed)
        row = {
            "configuration": number,
            "seed": seed,
            "values": drawn[number],
            "scores": [round(score, 4) for score in scores],
            "failed": failed,
            "cpu_s": round(time.process_time() - begun, 2),
        }
        with file.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        typer.echo(f"{number} seed {seed}: {scores[-1] if scores else failed} after {row['cpu_s']} s")


@app.command()
def pack(
    folder: Annotated[Path, typer.Option(help="Where the rows lie.")],
    out: Annotated[Path, typer.Option(help="Parquet file.")] = RECORDED,
) -> None:
    """Write what has been recorded as the table that the family digits of `benchmarks.anytime` reads."""
    rows = sorted(read_rows(folder / "rows.jsonl"), key=lambda row: (row["configuration"], row["seed"]))
    columns = {
        "configuration": pa.array([row["configuration"] for row in rows], pa.int16()),
        "seed": pa.array([row["seed"] for row in rows], pa.int8()),
        "values": pa.array([json.dumps(row["values"]) for row in rows]),
        "scores": pa.array([row["scores"] for row in rows], pa.list_(pa.float32())),
        "failed": pa.array([row["failed"] for row in rows], pa.string()),
        "cpu_s": pa.array([row["cpu_s"] for row in rows], pa.float32()),
    }
    pq.write_table(pa.table(columns), out, compression="zstd")
    typer.echo(f"{out}: {len(rows)} trainings of {len({row['configuration'] for row in rows})} configurations")


@app.command()
def study(
    out: Annotated[Path, typer.Option(help="A folder, which gets tables/.")],
    recorded: Annotated[Path, typer.Option(help="The packed table.")] = RECORDED,
) -> None:
    """Write the packed trainings as a study's tables, which `ipix-tune simulate --curves` takes. Trainings that failed
    have no whole curve and are marked so."""
    space = SearchSpace(load(STUDY))
    runs, history = [], []
    for number, row in enumerate(pq.read_table(recorded).to_pylist()):
        run_id, values = f"digits-curves-t{number:04d}", json.loads(row["values"])
        epoch_s = row["cpu_s"] / max(len(row["scores"]), 1)
        runs.append(
            {
                "run_id": run_id,
                "study": "digits-curves",
                "phase": "search",
                "trial": number,
                "state": "complete" if row["failed"] is None else "failed",
                "error": row["failed"],
                "seed": row["seed"],
                "epochs": len(row["scores"]),
                "runtime_s": row["cpu_s"],
                "config": json.dumps(space.to_data({"seed": row["seed"], **values})),
                **{f"param.{name}": value for name, value in values.items()},
            }
        )
        for epoch, score in enumerate(row["scores"], 1):
            history.append({"run_id": run_id, "epoch": epoch, "time": epoch * epoch_s, "val/miou": score})
    tables.save(tables.assemble(runs, pa.Table.from_pylist(history), {"study": "digits-curves"}), out)
    typer.echo(f"{out}: {len(runs)} trainings; ipix-tune simulate {STUDY.name} --curves {out}")


@app.command()
def predicted(folds: Annotated[int, typer.Option(min=2)] = 20) -> None:
    """Leave configurations out and predict the mean of their last scores from the others: by the forest that the family
    digits of `benchmarks.anytime` is, and by the nearest one. Print the share of the variance that each explains, and
    what seeds differ by."""
    curves = RecordedDigits(shipped(), seed=0)
    own: dict[int, list[float]] = {}
    for row in shipped():
        own.setdefault(row["configuration"], []).append(curves.whole(row)[-1])
    values = {row["configuration"]: row["values"] for row in shipped()}
    features = Features(SearchSpace(load(STUDY))).of([values[number] for number in own])
    ends = np.array([np.mean(scores) for scores in own.values()])
    models: dict[str, Any] = {"forest": forest(), "nearest": KNeighborsRegressor(1)}
    for name, model in models.items():
        found = cross_val_predict(model, features, ends, cv=KFold(folds, shuffle=True, random_state=0))
        left = float(np.mean((found - ends) ** 2))
        typer.echo(f"{name}: R2 {1 - left / ends.var():.2f}, root mean squared error {math.sqrt(left):.1f}")
    variances = [np.var(scores, ddof=1) for scores in own.values() if len(scores) > 1]
    typer.echo(f"standard deviation between seeds: {math.sqrt(float(np.mean(variances))):.1f}")


if __name__ == "__main__":
    app()
