"""Loader workers that hang or die end the run with a cause."""

import os
import time

import pytest
from torch.utils.data import DataLoader, Dataset

from trainers.common.errors import LoaderError
from trainers.data.waiting import watched


class Spoilt(Dataset):
    """Gives its items up to the third, then does what it was made for."""

    def __init__(self, fault):
        self._fault = fault

    def __len__(self):
        return 6

    def __getitem__(self, index):
        if index >= 3:
            self._fault()
        return index


def hang():
    time.sleep(60)


def die():
    os._exit(1)


def complain():
    raise RuntimeError("a fault of the code")


def nothing():
    pass


def batches(fault, *, wait_s):
    loader = DataLoader(
        Spoilt(fault), batch_size=None, num_workers=1, timeout=wait_s, multiprocessing_context="fork", prefetch_factor=1
    )
    return watched(iter(loader), wait_s=wait_s)


def test_sound_workers_give_all_their_batches():
    assert list(batches(nothing, wait_s=60)) == list(range(6))


def test_workers_that_give_nothing_end_the_run_with_the_time_and_what_may_be_the_cause():
    with pytest.raises(LoaderError, match=r"no batch for 2 s .*/dev/shm.* MB free.*--shm-size.*loader_workers"):
        list(batches(hang, wait_s=2))


def test_a_worker_that_dies_is_said_to_have_died():
    with pytest.raises(LoaderError, match=r"a loader worker died: .*exited unexpectedly.*loader_workers"):
        list(batches(die, wait_s=60))


def test_an_error_of_the_code_stays_what_it_is():
    with pytest.raises(RuntimeError, match="a fault of the code") as found:
        list(batches(complain, wait_s=60))
    assert not isinstance(found.value, LoaderError)
