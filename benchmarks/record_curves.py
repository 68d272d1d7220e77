"""Record learning curves of real trainings for `benchmarks.search_quality`: multi-layer perceptrons and boosted trees
on the data that scikit-learn ships.

    python -m benchmarks.record_curves recorded          # goes on when it was stopped; some minutes of one core

Every family has three tables, one a data set: `CONFIGURATIONS` configurations drawn evenly, each trained with `SEEDS`
seeds, and scored after each of `EPOCHS` epochs on the half of the data that it does not see. An epoch is a pass over
the data (perceptrons) or `TREES` rounds of boosting. The score is 100 times the explained share: R2 for numbers, D2 of
the log loss for classes; below `FLOOR`, or where the training diverged, it is `FLOOR`. An epoch counts as one virtual
second, so that the same tables come of every recording.
"""

import random
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from sklearn import datasets
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import d2_log_loss_score, r2_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import scale
from threadpoolctl import threadpool_limits

from ipix_tune.config import StudyConfig, Value
from ipix_tune.curves import Curve, RecordedCurves
from ipix_tune.space import SearchSpace
from trainers.errors import UserError

EPOCHS, TREES, BATCH = 27, 4, 32
CONFIGURATIONS, SEEDS = 400, 3
FLOOR = -100.0
LARGEST = 800
"""Samples used of a data set, half of them to train on."""

Data = tuple[np.ndarray, np.ndarray]
SEARCH: dict[str, dict[str, dict[str, Any]]] = {
    "mlp": {
        "solver": {"choice": ["sgd", "adam"]},
        "learning_rate_init": {"loguniform": [1e-4, 1]},
        "momentum": {"uniform": [0, 0.99], "only_if": {"solver": "sgd"}},
        "alpha": {"loguniform": [1e-3, 10]},
        "width": {"logint": [4, 128]},
    },
    "boosting": {
        "learning_rate": {"loguniform": [0.01, 1]},
        "max_leaf_nodes": {"logint": [2, 64]},
        "min_samples_leaf": {"logint": [1, 100]},
        "l2_regularization": {"loguniform": [0.01, 100]},
        "max_features": {"uniform": [0.1, 1]},
    },
}


def even_digits() -> Data:
    """Scanned digits, and whether each is even."""
    inputs, digits = datasets.load_digits(return_X_y=True)
    return inputs, digits % 2


DATA: dict[str, Callable[[], Data]] = {
    "digits": even_digits,
    "cancer": partial(datasets.load_breast_cancer, return_X_y=True),
    "diabetes": partial(datasets.load_diabetes, return_X_y=True),
}


@cache
def halves(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Inputs and targets to train on, then those to score on; inputs and numbers with mean 0 and variance 1."""
    inputs, targets = DATA[name]()
    order = np.random.default_rng(0).permutation(len(targets))[:LARGEST]
    inputs, targets = scale(inputs)[order], targets[order]
    if not is_classes(name):
        targets = scale(targets)
    half = len(order) // 2
    return inputs[:half], targets[:half], inputs[half:], targets[half:]


def is_classes(name: str) -> bool:
    """Whether the targets are classes."""
    return name in ("digits", "cancer")


def mlp_outputs(name: str, values: Mapping[str, Value], seed: int) -> Iterator[np.ndarray]:
    """Predictions after each epoch, in batches of `BATCH`."""
    inputs, targets, unseen, _ = halves(name)
    own = {key: value for key, value in values.items() if key != "width"}
    settings = {"hidden_layer_sizes": [values["width"]], "batch_size": BATCH, "random_state": seed, **own}
    if is_classes(name):
        classifier = MLPClassifier(**settings)
        for _ in range(EPOCHS):
            yield classifier.partial_fit(inputs, targets, classes=np.unique(targets)).predict_proba(unseen)
    else:
        regressor = MLPRegressor(**settings)
        for _ in range(EPOCHS):
            yield regressor.partial_fit(inputs, targets).predict(unseen)


def boosting_outputs(name: str, values: Mapping[str, Value], seed: int) -> Iterator[np.ndarray]:
    """Predictions after each epoch."""
    inputs, targets, unseen, _ = halves(name)
    settings = {"max_iter": EPOCHS * TREES, "early_stopping": False, "random_state": seed, **values}
    if is_classes(name):
        staged = HistGradientBoostingClassifier(**settings).fit(inputs, targets).staged_predict_proba(unseen)
    else:
        staged = HistGradientBoostingRegressor(**settings).fit(inputs, targets).staged_predict(unseen)
    return (output for index, output in enumerate(staged, 1) if index % TREES == 0)


OUTPUTS = {"mlp": mlp_outputs, "boosting": boosting_outputs}


def score(name: str, outputs: np.ndarray) -> float:
    """Percent explained on the second half."""
    targets = halves(name)[3]
    if not np.isfinite(outputs).all():
        return FLOOR
    explained = d2_log_loss_score(targets, outputs) if is_classes(name) else r2_score(targets, outputs)
    return max(100 * float(explained), FLOOR)


def curve(family: str, name: str, values: Mapping[str, Value], seed: int) -> tuple[float, ...]:
    """Train one configuration: its scores, the first epoch's first."""
    scores: list[float] = []
    try:
        with threadpool_limits(1):
            scores.extend(score(name, outputs) for outputs in OUTPUTS[family](name, values, seed))
    except ValueError as error:  # sgd's weights are no longer finite
        if "non-finite" not in str(error):
            raise
    return tuple(scores + [FLOOR] * (EPOCHS - len(scores)))


def space_of(family: str) -> SearchSpace:
    """The family's search space."""
    study = {"name": family, "trainer": {}, "search": SEARCH[family], "budget": {"trials": 1}}
    return SearchSpace(StudyConfig.model_validate(study))


def read_recorded(folder: Path, family: str, name: str) -> RecordedCurves:
    """The recorded curves of one data set, which answer every configuration of the family's space: by those of the
    nearest one that was recorded, with one of its seeds.

    Raises:
        UserError: they have not been recorded.
    """
    file = folder / f"{family}-{name}.parquet"
    if not file.exists():
        raise UserError(f"{file} is missing; record it with: python -m benchmarks.record_curves {folder}")
    space = space_of(family)
    rows = pq.read_table(file).to_pylist()
    recorded = [
        (
            {key: row[key] for key in space.dimensions if row[key] is not None},
            Curve(scores=tuple(row["scores"]), seconds=1.0),
        )
        for row in rows
    ]
    return RecordedCurves(space, recorded, search=space.dimensions)


def main(
    folder: Annotated[Path, typer.Argument(help="Where the tables are written.")],
    configurations: Annotated[int, typer.Option(min=2, help="Of every table.")] = CONFIGURATIONS,
) -> None:
    """Record the tables that the folder lacks."""
    warnings.filterwarnings("ignore", category=RuntimeWarning)  # overflow in diverging trainings
    folder.mkdir(parents=True, exist_ok=True)
    for family in SEARCH:
        space = space_of(family)
        for name in DATA:
            file = folder / f"{family}-{name}.parquet"
            if file.exists():
                continue
            rng, begun, rows = random.Random(0), time.perf_counter(), []
            for _ in range(configurations):
                values = space.sample(rng)
                known = dict.fromkeys(space.dimensions) | values
                for seed in range(SEEDS):
                    rows.append(known | {"seed": seed, "scores": curve(family, name, values, seed)})
            pq.write_table(pa.Table.from_pylist(rows), file)
            typer.echo(f"{file}: {len(rows)} curves in {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    typer.run(main)
