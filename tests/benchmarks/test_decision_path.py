import pytest
import ray

from benchmarks.decision_path import Decided, Driver, render


@pytest.fixture(scope="module")
def driven(tmp_path_factory):
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    driver = Driver(tmp_path_factory.mktemp("record"), trials=12, concurrent=3, seconds=1e-4, sampler="random")
    yield driver, driver.run()
    ray.shutdown()


def test_every_sleeping_trial_ends_and_every_result_is_decided_on(driven):
    driver, found = driven
    entries = driver._trials.entries()
    assert {one.state for one in entries} == {"complete", "stopped"}
    assert len(entries) == found[-1].ended == 12
    assert len(found) == sum(len(one.scores) for one in entries)


def test_a_proposal_is_timed_where_a_trial_begins_in_the_place_of_another(driven):
    _, found = driven
    assert sum(one.proposed > 0 for one in found) == 12 - 3


def test_the_table_has_milliseconds_of_each_part():
    found = [
        Decided(
            waited=0.002,
            decided=0.004,
            decided_cpu=0.003,
            proposed=0.03 * (part % 2),
            proposed_cpu=0.02,
            ended=part,
            memory=100 + part,
        )
        for part in range(10)
    ]
    lines = render(found, concurrent=2, seconds=1.0, took=3.0, command="x").splitlines()
    assert "| 0 to 1 | 2.0, 2.0 | 4.0, 4.0 | 3.0, 3.0 | 30.0, 30.0 | 20.0, 20.0 | 100 to 101 |" in lines
