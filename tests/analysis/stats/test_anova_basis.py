import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.stats.sensitivity.anova_basis import Axis, Basis
from analysis.stats.sensitivity.sobol import variances
from tests.analysis.made import MIXED, UNIT, dimension


def axis_of(one):
    return Axis(name="x", dimension=one, conditions={})


def measure(axis):
    """Places and shares that integrate the axis' functions exactly."""
    if axis.choices is not None:
        return np.arange(len(axis.choices), dtype=float), np.full(len(axis.choices), 1 / len(axis.choices))
    if axis.cells is not None:
        return axis.cells
    places, shares = np.polynomial.legendre.leggauss(24)
    return (places + 1) / 2, shares / 2


ranges = st.one_of(
    st.tuples(st.sampled_from(["uniform", "loguniform"]), st.floats(0.01, 10), st.floats(0.1, 100)).map(
        lambda drawn: dimension(drawn[0], low=drawn[1], high=drawn[1] + drawn[2])
    ),
    st.tuples(st.sampled_from(["int", "logint"]), st.integers(1, 20), st.integers(1, 200)).map(
        lambda drawn: dimension(drawn[0], low=drawn[1], high=drawn[1] + drawn[2])
    ),
    st.tuples(st.floats(0, 5), st.sampled_from([0.1, 0.25, 2.0]), st.integers(1, 30)).map(
        lambda drawn: dimension("quniform", low=drawn[0], high=drawn[0] + drawn[1] * drawn[2], step=drawn[1])
    ),
)
choices = st.integers(2, 6).map(lambda count: dimension("choice", choices=[f"c{i}" for i in range(count)]))


@given(one=st.one_of(ranges, choices))
@settings(deadline=None)
def test_the_functions_of_any_parameter_are_orthonormal_and_have_no_mean(one):
    axis = axis_of(one)
    places, shares = measure(axis)
    functions = axis.functions(places)
    assert functions.shape == (len(places), axis.count)
    assert shares @ functions == pytest.approx(np.zeros(axis.count), abs=1e-8)
    assert (functions * shares[:, None]).T @ functions == pytest.approx(np.eye(axis.count), abs=1e-7)


@given(one=ranges, share=st.floats(0, 1))
@settings(deadline=None)
def test_a_value_comes_back_from_its_place(one, share):
    axis = axis_of(one)
    value = axis.value(share)
    assert one["low"] <= value <= one["high"] or value == pytest.approx(one["high"])
    assert axis.value(axis.unit(value)) == pytest.approx(value)


def test_a_choice_that_is_not_listed_is_refused():
    with pytest.raises(ValueError, match=r"x: 'no' is none of \['a', 'b'\]"):
        axis_of(dimension("choice", choices=["a", "b"])).unit("no")


def test_a_boolean_is_not_taken_for_the_number_1():
    axis = axis_of(dimension("choice", choices=[1, True]))
    assert (axis.unit(1), axis.unit(True)) == (0.0, 1.0)


SPACE = {
    "teacher": dimension("choice", choices=["shared", "ema", "frozen"]),
    "decay": dimension("uniform", low=0.9, high=1.0, only_if={"teacher": ["ema", "frozen"]}),
    "buffers": dimension("choice", choices=["own", "copy"], only_if={"teacher": "ema"}),
    "lag": dimension("int", low=1, high=3, only_if={"buffers": "copy"}),
    "tau": UNIT,
}


def test_the_variance_of_every_set_of_parameters_is_that_of_brute_force():
    """On the whole product grid, every parameter drawn whether it is active or not."""
    basis = Basis(SPACE)
    weights = np.random.default_rng(0).normal(size=(1, basis.width))
    grids = [measure(axis) for axis in basis.axes]
    rows = list(itertools.product(*(range(len(places)) for places, _ in grids)))
    configs = []
    for row in rows:
        config = {}
        for axis, (places, _), at in zip(basis.axes, grids, row, strict=True):
            config[axis.name] = axis.value(places[at])
        configs.append({name: config[name] for name in holding(config)})
    table = (basis.features(configs) @ weights[0]).reshape([len(places) for places, _ in grids])
    pieces, found = variances(basis, weights)
    by_piece = dict(zip(pieces, found[0], strict=True))
    expected = brute_force(table, [shares for _, shares in grids])
    for piece, variance in expected.items():
        assert by_piece.get(piece, 0.0) == pytest.approx(variance, abs=1e-6), piece


def holding(config):
    active = set()
    for name, one in SPACE.items():
        wanted = one["only_if"] or {}
        lists = {parent: value if isinstance(value, list) else [value] for parent, value in wanted.items()}
        if all(parent in active and config[parent] in values for parent, values in lists.items()):
            active.add(name)
    return active


def brute_force(table, shares):
    """Variance of the ANOVA component of every set of axes, by averaging and inclusion-exclusion."""
    axes = range(table.ndim)
    closed = {}
    for size in range(table.ndim + 1):
        for kept in itertools.combinations(axes, size):
            mean = table
            for axis in reversed(axes):
                weights = shares[axis].reshape([-1 if i == axis else 1 for i in axes])
                if axis not in kept:
                    mean = (mean * weights).sum(axis=axis, keepdims=True)
            weight = np.ones([1] * table.ndim)
            for axis in kept:
                weight = weight * shares[axis].reshape([-1 if i == axis else 1 for i in axes])
            closed[frozenset(kept)] = float((weight * mean**2).sum())
    return {
        one: sum((-1) ** (len(one) - size) * sum(closed[frozenset(part)] for part in itertools.combinations(one, size))
                 for size in range(len(one) + 1))
        for one in closed
        if one
    }  # fmt: skip


def test_a_parameter_that_is_not_active_adds_nothing():
    basis = Basis(MIXED)
    values = {"lr": 1e-2, "tau": 0.3, "teacher": "shared"}
    columns = [term.columns for term in basis.terms if basis.names.index("decay") in term.axes]
    features = basis.features([values])[0]
    assert all((features[one] == 0).all() for one in columns)


def test_a_parameter_and_what_switches_it_on_have_no_joint_term():
    basis = Basis(MIXED)
    pairs = {frozenset(basis.names[i] for i in term.axes) for term in basis.terms if len(term.axes) == 2}
    assert frozenset({"teacher", "decay"}) not in pairs
    assert frozenset({"tau", "decay"}) in pairs


def test_parameters_that_are_never_active_together_have_no_joint_term():
    space = {
        "method": dimension("choice", choices=["a", "b"]),
        "of_a": {**UNIT, "only_if": {"method": "a"}},
        "of_b": {**UNIT, "only_if": {"method": "b"}},
    }
    basis = Basis(space)
    assert all({basis.names[i] for i in term.axes} != {"of_a", "of_b"} for term in basis.terms)
