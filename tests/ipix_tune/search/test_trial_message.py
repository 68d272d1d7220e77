from hypothesis import given
from hypothesis import strategies as st
from ray._private.dict import flatten_dict

from ipix_tune.search.trial_message import TrialMessage

finite = st.floats(allow_nan=False, allow_infinity=False)
names = st.sampled_from(["val/miou", "time/epoch_s", "train/loss", "val/iou/3"])
messages = st.builds(
    TrialMessage,
    epoch=st.none() | st.integers(1, 1000),
    score=st.none() | finite,
    metrics=st.dictionaries(names, finite),
    split_hash=st.none() | st.text(),
    accumulate=st.none() | st.integers(1, 64),
    placement_group=st.none() | st.just("ab12"),
    failed=st.none() | st.text(),
    cause=st.none() | st.sampled_from(["data", "memory"]),
    unwritable=st.none() | st.text(),
)


@given(messages)
def test_a_message_comes_out_of_a_result_as_it_went_in(message):
    assert TrialMessage.from_result(message.to_result()) == message


@given(messages)
def test_a_message_comes_out_of_a_result_that_ray_tune_has_flattened(message):
    assert TrialMessage.from_result(flatten_dict(message.to_result(), delimiter="/")) == message


def test_ray_tunes_own_keys_are_no_part_of_a_message():
    result = {"training_iteration": 3, "config": {"key": "t0001"}, "trial_id": "a", "epoch": 2}
    assert TrialMessage.from_result(result) == TrialMessage(epoch=2)
