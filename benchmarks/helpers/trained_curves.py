"""Learning curves of real trainings for `benchmarks.search_quality`: multi-layer perceptrons and kernel machines on
data that scikit-learn ships.

A configuration is trained when a simulation asks for it, epoch by epoch as the simulation goes on, and its curve is
kept: what a scheduler stops is not trained any further. An epoch is a pass over one half of the data, and the score is
that of the other: 100 times the explained share, R2 for numbers, D2 of the log loss for classes; below `FLOOR`, or
where the training diverged, it is `FLOOR`. An epoch counts as one virtual second.
"""

import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from itertools import islice
from typing import Any, overload

import numpy as np
from sklearn import datasets
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import scale

from ipix_tune.config.dimension_config import Dimension
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.config.study_config import StudyConfig
from ipix_tune.study.simulation.curve import Curve
from ipix_tune.trainer.resources import Value

EPOCHS, BATCH = 27, 80
KNOWN, EXPERTS_SEED, JUDGES = 200, 100_000, 3
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
    "kernel": {
        "gamma": {"loguniform": [1e-4, 1]},
        "n_components": {"logint": [8, 512]},
        "eta0": {"loguniform": [0.01, 100]},
        "learning_rate": {"choice": ["constant", "invscaling"]},
        "power_t": {"uniform": [0.1, 1], "only_if": {"learning_rate": "invscaling"}},
        "alpha": {"loguniform": [1e-6, 0.1]},
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
    model = (MLPClassifier if is_classes(name) else MLPRegressor)(**settings)
    return outputs_by_epoch(model, name, inputs, targets, unseen)


def kernel_outputs(name: str, values: Mapping[str, Value], seed: int) -> Iterator[np.ndarray]:
    """Predictions after each epoch of a linear model of random Fourier features."""
    inputs, targets, unseen, _ = halves(name)
    settings: dict[str, Any] = dict(values)
    features = RBFSampler(gamma=settings.pop("gamma"), n_components=settings.pop("n_components"), random_state=seed)
    inputs, unseen = features.fit_transform(inputs), features.transform(unseen)
    settings["random_state"] = np.random.RandomState(seed)
    model = SGDClassifier(loss="log_loss", **settings) if is_classes(name) else SGDRegressor(**settings)
    return outputs_by_epoch(model, name, inputs, targets, unseen)


def outputs_by_epoch(
    model: Any, name: str, inputs: np.ndarray, targets: np.ndarray, unseen: np.ndarray
) -> Iterator[np.ndarray]:
    """The predictions of one of scikit-learn's models for ``unseen`` after each epoch on the others: the probabilities
    of the classes, or numbers."""
    for _ in range(EPOCHS):
        if is_classes(name):
            yield model.partial_fit(inputs, targets, classes=np.unique(targets)).predict_proba(unseen)
        else:
            yield model.partial_fit(inputs, targets).predict(unseen)


OUTPUTS = {"mlp": mlp_outputs, "kernel": kernel_outputs}


def score(name: str, outputs: np.ndarray) -> float:
    """Percent explained of the second half. Written out, since scikit-learn's checks take longer than a pass over these
    data; of two classes."""
    targets = halves(name)[3]
    if not np.isfinite(outputs).all():
        return FLOOR
    if is_classes(name):
        right = np.clip(outputs[np.arange(len(targets)), targets], EPSILON, 1)
        share = targets.mean()
        left, at_first = -np.log(right).mean(), -share * np.log(share) - (1 - share) * np.log(1 - share)
    else:
        left, at_first = ((targets - outputs) ** 2).mean(), targets.var()
    return max(100 * float(1 - left / at_first), FLOOR)


EPSILON = float(np.finfo(float).eps)
DIVERGED = ("non-finite", "overflow")
"""What scikit-learn says of weights that are no longer finite."""


def scores_of(family: str, name: str, values: Mapping[str, Value], seed: int) -> Iterator[float]:
    """Train one configuration: its score after each epoch."""
    outputs = OUTPUTS[family](name, values, seed)
    return (_next_score(name, outputs) for _ in range(EPOCHS))


def _next_score(name: str, outputs: Iterator[np.ndarray]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # overflow, before it diverges
        try:
            found = next(outputs, None)
        except ValueError as error:
            if not any(reason in str(error) for reason in DIVERGED):
                raise
            return FLOOR
        return FLOOR if found is None else score(name, found)


@dataclass(frozen=True, kw_only=True)
class TrainedCurve(Curve):
    """With what it was trained with."""

    values: Mapping[str, Value]


class Trained(Sequence[float]):
    """The scores of one training, which goes on as far as it is asked."""

    def __init__(self, scores: Iterator[float]) -> None:
        self._to_come = scores
        self._known: list[float] = []

    def __len__(self) -> int:
        return EPOCHS

    @overload
    def __getitem__(self, at: int) -> float: ...
    @overload
    def __getitem__(self, at: slice) -> list[float]: ...
    def __getitem__(self, at: int | slice) -> float | list[float]:
        wanted = range(EPOCHS)[at]
        last = wanted if isinstance(wanted, int) else max(wanted, default=-1)
        self._known.extend(islice(self._to_come, max(last + 1 - len(self._known), 0)))
        return self._known[wanted] if isinstance(wanted, int) else [self._known[one] for one in wanted]


@dataclass(frozen=True)
class TrainedCurves:
    """The curves of one family on one data set; all trainings have the same seed, as those of a study."""

    family: str
    name: str
    seed: int
    _asked: dict[str, Curve] = field(default_factory=dict, repr=False)

    @property
    def search(self) -> dict[str, Dimension]:
        return space_of(self.family).dimensions

    def curve(self, values: Mapping[str, Value]) -> Curve:
        key = repr(sorted(values.items()))
        if key not in self._asked:
            scores = Trained(scores_of(self.family, self.name, values, self.seed))
            self._asked[key] = TrainedCurve(scores=scores, seconds=1.0, values=dict(values))
        return self._asked[key]

    def worth(self, curve: Curve) -> float:
        """The mean final score of other trainings of its configuration, with `JUDGES` other seeds: without the luck of
        the training by which it was chosen."""
        assert isinstance(curve, TrainedCurve)
        return float(np.mean([one.curve(curve.values).scores[-1] for one in self._judges]))

    @cached_property
    def _judges(self) -> list["TrainedCurves"]:
        return [TrainedCurves(self.family, self.name, EXPERTS_SEED + 1 + judge) for judge in range(JUDGES)]


@cache
def known(family: str, name: str) -> list[dict[str, Value]]:
    """What an expert knows: `KNOWN` configurations, drawn evenly, the worst first. They were trained with a seed of
    their own."""
    space, rng, curves = space_of(family), random.Random(0), TrainedCurves(family, name, EXPERTS_SEED)

    def end(values: dict[str, Value]) -> float:
        score = curves.curve(values).scores[-1]
        assert score is not None
        return score

    return sorted((space.sample(rng) for _ in range(KNOWN)), key=end)


def space_of(family: str) -> SearchSpace:
    """The family's search space."""
    study = {"name": family, "trainer": {}, "search": SEARCH[family], "budget": {"trials": 1}}
    return SearchSpace(StudyConfig.model_validate(study))
