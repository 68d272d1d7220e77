import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ipix_tune.config.dimension_config import Dimension
from ipix_tune.trainer.resources import ResourcesConfig


def test_a_dimension_knows_its_kind():
    assert Dimension(loguniform=(0.1, 1)).kind == "loguniform"
    assert Dimension(choice=(None, True)).kind == "choice"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "got none"),
        ({"uniform": (0, 1), "int": (0, 1)}, "got uniform, int"),
        ({"uniform": (1, 1)}, "empty"),
        ({"int": (3, 2)}, "empty"),
        ({"loguniform": (0, 1)}, "passes through 0"),
        ({"logint": (-1, 4)}, "passes through 0"),
        ({"quniform": (0, 1, 0)}, "above 0"),
        ({"quniform": (0, 1, 1e-9)}, "1000000000 steps, and 10000 are the most"),
        ({"quniform": (0, 1e20, 1e-10)}, "steps, and 10000 are the most"),
        ({"quniform": (0, 1e300, 1e-300)}, "inf steps, and 10000 are the most"),
        ({"quniform": (-1e308, 1e308, 1)}, "inf steps, and 10000 are the most"),
        ({"int": (0, 2**53 + 1)}, r"within -2\^53 and 2\^53"),
        ({"logint": (1, 10**400)}, r"within -2\^53 and 2\^53"),
        ({"quniform": (0, 1, 0.3)}, "last value below it is 0.9"),
        ({"choice": ()}, "at least one value"),
        ({"choice": ("a", "a")}, "twice"),
        ({"uniform": (0, float("inf"))}, "finite"),
        ({"int": (0, 2.5)}, "integer"),
        ({"uniform": (0, 1), "only_if": {}}, "only_if is empty"),
        ({"uniform": (0, 1), "only_if": {"a": []}}, "only_if is empty"),
    ],
)
def test_a_dimension_that_cannot_be_searched_is_refused(keys, message):
    with pytest.raises(ValidationError, match=message):
        Dimension.model_validate(keys)


@given(low=st.integers(-50, 50), steps=st.integers(1, 60), step=st.sampled_from([0.1, 0.25, 0.05, 1, 3]))
def test_a_step_that_reaches_the_end_is_accepted_in_decimal_arithmetic(low, steps, step):
    high = float(f"{low + steps * step:.10g}")
    assert Dimension(quniform=(low, high, step)).kind == "quniform"


@pytest.mark.parametrize(("workers", "gpus"), [(2, 0.5), (1, 1.5)])
def test_a_fraction_of_a_gpu_is_refused_where_nccl_would_refuse_it(workers, gpus):
    with pytest.raises(ValidationError, match="NCCL"):
        ResourcesConfig(workers=workers, gpus_per_worker=gpus)
