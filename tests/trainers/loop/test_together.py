"""Processes wait for each other's long work without a limit, and end where one of them did."""

import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist
import torch.multiprocessing as mp

from trainers.common.errors import DataError, UserError
from trainers.loop.together import by_first, together

TIMEOUT_S, WORK_S = 1, 2.5


def test_without_other_processes_the_work_is_done_here():
    assert together(lambda: 3) == 3
    done = []
    by_first(lambda: done.append(1))
    assert done == [1]


def both(rank, name):
    folder = Path(name)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=timedelta(seconds=TIMEOUT_S)
    )
    try:
        by_first(lambda: time.sleep(WORK_S))
        (folder / f"waited-{rank}").touch()
        found = together(lambda: f"of {rank}")
        (folder / f"result-{rank}").write_text(found)
        for error, raised in ((DataError("b.png"), DataError), (ValueError("odd"), UserError)):
            try:
                by_first(lambda error=error: fail(error))
            except (UserError, ValueError) as caught:
                right = type(caught) is (type(error) if rank == 0 else raised)
                (folder / f"{type(error).__name__}-{rank}").write_text(f"{right} {caught}")
    finally:
        dist.destroy_process_group()


def fail(error):
    raise error


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """What two processes left behind whose collectives may take a second."""
    folder = tmp_path_factory.mktemp("two")
    mp.spawn(both, args=(str(folder),), nprocs=2)
    return folder


def test_work_that_takes_longer_than_the_groups_timeout_is_waited_for(left):
    assert (left / "waited-0").exists()
    assert (left / "waited-1").exists()


def test_each_process_has_the_result_of_its_own_work(left):
    assert [(left / f"result-{rank}").read_text() for rank in range(2)] == ["of 0", "of 1"]


def test_an_error_of_the_one_that_works_ends_the_wait_of_the_others_and_is_told(left):
    assert (left / "DataError-0").read_text() == "True b.png"
    assert (left / "DataError-1").read_text() == "True process 0: b.png"
    assert (left / "ValueError-1").read_text() == "True process 0: odd"
