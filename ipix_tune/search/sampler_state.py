"""A sampler's state as JSON: the states of its random generators and a few numbers.

Whoever may write into a study's folder must not be able to run code on the driver, so nothing there is unpickled.
"""

import json
import pickle
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import cmaes
import numpy as np
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, TPESampler
from optuna.samplers._lazy_random_state import LazyRandomState
from optuna.trial import FrozenTrial, create_trial

from ipix_tune.search.rank_transform import RankedSampler
from ipix_tune.search.surrogate_sampler import SurrogateSampler
from ipix_tune.search.unique_sampler import WholeSampler

KERNEL = ("inverse_squared_lengthscales", "kernel_scale", "noise_var")
"""What Optuna's Gaussian process takes from its last fit, to begin the next one with."""
FITS = ("_gprs_cache_list", "_constraints_gprs_cache_list")


def state_of(sampler: BaseSampler) -> dict[str, Any]:
    """State of the sampler and of the samplers within it, by the path to each, as JSON holds it with exact floats."""
    return {path: _state(part) for path, part in _parts(sampler)}


def set_state(sampler: BaseSampler, state: dict[str, Any]) -> None:
    """Go on as the sampler whose :func:`state_of` this is. ``sampler`` is newly built from the same study file.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is the state of no such sampler.
    """
    parts = dict(_parts(sampler))
    if parts.keys() != state.keys():
        raise ValueError(f"a state of {sorted(state)}, and the sampler has {sorted(parts)}")
    for path, part in parts.items():
        _restore(part, state[path])


class JsonCmaEsSampler(CmaEsSampler):
    """Optuna's CMA-ES, which keeps its optimiser with the study's trials: as JSON here, where Optuna pickles it."""

    def _split_optimizer_str(self, optimizer_str: str) -> dict[str, str]:
        own = pickle.loads(bytes.fromhex(optimizer_str))  # pickled by the caller, in this process
        attributes: dict[str, str] = super()._split_optimizer_str(json.dumps(_encoded(own.__getstate__())))
        return attributes

    def _restore_optimizer(self, completed_trials: list[FrozenTrial]) -> cmaes.CMA | None:
        for trial in reversed(completed_trials):
            kept = {
                name: text for name, text in trial.system_attrs.items() if name.startswith(self._attr_key_optimizer)
            }
            if kept:
                optimizer = cmaes.CMA.__new__(cmaes.CMA)
                optimizer.__setstate__(_decoded(json.loads(self._concat_optimizer_attrs(kept))))
                return optimizer
        return None


def _parts(sampler: BaseSampler, path: str = "") -> Iterator[tuple[str, BaseSampler]]:
    yield path or "sampler", sampler
    for name, value in sorted(vars(sampler).items()):
        if isinstance(value, BaseSampler):
            yield from _parts(value, f"{path}{name}")


def _state(part: BaseSampler) -> dict[str, Any]:
    found: dict[str, Any] = {"generators": {name: _generator_state(value) for name, value in _generators(part)}}
    if isinstance(part, WholeSampler):
        found["plan"] = part._plan
    if isinstance(part, RankedSampler):
        found["past"] = [_trial_state(one) for one in part._past]
    if isinstance(part, TPESampler):
        found["groups"] = [
            {name: distribution_to_json(one) for name, one in group.items()} for group in _grouped(part)._search_spaces
        ]
    if isinstance(part, SurrogateSampler):
        theta = part.surrogate.theta
        found["surrogate"] = [None if theta is None else theta.tolist(), part.surrogate.rows]
    if isinstance(part, GPSampler):
        found["fits"] = {name: _fits(getattr(part, name)) for name in FITS}
    return found


def _restore(part: BaseSampler, state: dict[str, Any]) -> None:
    for name, generator in _generators(part):
        _set_generator(generator, state["generators"][name])
    if isinstance(part, WholeSampler):
        number, values = state["plan"]
        part._plan = (number, values)
    if isinstance(part, RankedSampler):
        part._past = [_trial(one) for one in state["past"]]
    if isinstance(part, TPESampler):
        _grouped(part)._search_spaces = [
            {name: json_to_distribution(text) for name, text in group.items()} for group in state["groups"]
        ]
    if isinstance(part, SurrogateSampler):
        theta, part.surrogate.rows = state["surrogate"]
        part.surrogate.theta = None if theta is None else np.array(theta)
    if isinstance(part, GPSampler):
        for name in FITS:
            setattr(part, name, _fitted(state["fits"][name]))


def _grouped(part: TPESampler) -> Any:
    """Which dimensions it models together."""
    assert part._group_decomposed_search_space is not None
    return part._group_decomposed_search_space._search_space


def _generators(part: BaseSampler) -> Iterator[tuple[str, np.random.RandomState | np.random.Generator]]:
    for name, value in sorted(vars(part).items()):
        if isinstance(value, LazyRandomState):
            yield name, value.rng
        elif isinstance(value, np.random.Generator):
            yield name, value


def _generator_state(generator: np.random.RandomState | np.random.Generator) -> Any:
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return _encoded(generator.get_state(legacy=False))


def _set_generator(generator: np.random.RandomState | np.random.Generator, state: Any) -> None:
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    else:
        generator.set_state(_decoded(state))


def _trial_state(trial: FrozenTrial) -> dict[str, Any]:
    distributions = {name: distribution_to_json(one) for name, one in trial.distributions.items()}
    return {"number": trial.number, "value": trial.value, "params": trial.params, "distributions": distributions}


def _trial(state: dict[str, Any]) -> FrozenTrial:
    distributions = {name: json_to_distribution(text) for name, text in state["distributions"].items()}
    trial = create_trial(value=state["value"], params=state["params"], distributions=distributions)
    trial.number = state["number"]
    return trial


def _fits(fits: Sequence[Any] | None) -> list[dict[str, Any]] | None:
    return None if fits is None else [{name: getattr(fit, name).tolist() for name in KERNEL} for fit in fits]


def _fitted(state: list[dict[str, Any]] | None) -> list[Any] | None:
    import torch

    if state is None:
        return None
    return [SimpleNamespace(**{name: torch.tensor(fit[name], dtype=torch.float64) for name in KERNEL}) for fit in state]


def _encoded(value: Any) -> Any:
    """Plain values, with arrays as lists that name their type and shape."""
    if isinstance(value, dict):
        return {name: _encoded(one) for name, one in value.items()}
    if isinstance(value, np.ndarray):
        return {"array": value.ravel().tolist(), "dtype": str(value.dtype), "shape": list(value.shape)}
    return value.item() if isinstance(value, np.generic) else value


def _decoded(value: Any) -> Any:
    if isinstance(value, dict) and "array" in value:
        return np.array(value["array"], dtype=value["dtype"]).reshape(value["shape"])
    return {name: _decoded(one) for name, one in value.items()} if isinstance(value, dict) else value
