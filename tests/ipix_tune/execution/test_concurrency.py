"""How many trials are handed out on a cluster that changes, and what is said of those that wait."""

import contextlib

import pytest

from ipix_tune.execution import cluster, concurrency
from ipix_tune.execution.concurrency import Concurrency, Seen, awaited, may_come, waits_for
from ipix_tune.execution.placement import PlacementGroups
from ipix_tune.execution.resources import ResourceError
from ipix_tune.trainer.resources import ResourcesConfig

NOTHING = PlacementGroups(held={}, waiting=[])


def at(*cpus, free=None, ahead=(), held=0, waiting=0, needs=1):
    """A cluster of nodes with so many CPUs each, of which this study holds some, and so many of its trials wait."""
    standing = PlacementGroups(held={"CPU": held} if held else {}, waiting=[{"CPU": needs}] * waiting)
    total = {"CPU": sum(cpus)} if sum(cpus) else {}
    return Seen(
        total=total,
        nodes=[{"CPU": count} for count in cpus],
        free={"CPU": sum(cpus) - held if free is None else free},
        ahead=[({"CPU": count}, most) for count, most in ahead],
        standing=standing,
    )


class Changing:
    """A cluster and a clock that the test sets, and what was said."""

    def __init__(self, first, **resources):
        self.now, self.seconds, self.said, self.ended = first, 0.0, [], []
        self.concurrency = Concurrency(
            ResourcesConfig(**resources),
            say=self.said.append,
            on_no_room=self.ended.append,
            look=lambda: self.now,
            clock=lambda: self.seconds,
        )

    def after(self, seconds, then=None):
        """Time passes, with a look at the cluster now and then as in a study."""
        self.now = then or self.now
        for _ in range(int(seconds)):
            self.seconds += 1
            self.concurrency.refresh()
        return self.concurrency.limit()


@pytest.mark.parametrize(
    ("then", "resources", "limit"),
    [
        pytest.param(at(1, 1), {}, 2, id="a node joins"),
        pytest.param(at(1, 4, 3), {}, 8, id="two nodes join"),
        pytest.param(at(1, 4, 3), {"concurrent": 3}, 3, id="the study's cap holds"),
        pytest.param(at(1, 1), {"cpus_per_worker": 2}, 1, id="a worker cannot span two nodes"),
        pytest.param(at(1, 3), {"workers": 2}, 2, id="the workers of a trial may"),
        pytest.param(at(), {}, 1, id="all leave: one trial waits, so that an autoscaler adds a node"),
        pytest.param(at(1, ahead=[(1, 8)]), {}, 2, id="an autoscaler: as many again wait as there is room for"),
        pytest.param(at(1, 1, 1, ahead=[(1, 4)]), {}, 4, id="no more than the autoscaler may add"),
        pytest.param(at(1, 1, 1, ahead=[(1, 2)]), {}, 3, id="no fewer than there is room for"),
        pytest.param(at(4, ahead=[(4, 10)]), {"concurrent": 5}, 5, id="an autoscaler under the study's cap"),
    ],
)
def test_trials_at_once_follow_the_cluster(then, resources, limit):
    assert Changing(at(1), **resources).after(10, then) == limit


def test_the_cluster_is_not_asked_at_every_turn():
    changing = Changing(at(1))
    changing.concurrency.limit()
    changing.now = at(8)
    assert changing.concurrency.limit() == 1
    assert changing.after(10) == 8


def test_a_head_that_does_not_answer_for_a_moment_leaves_the_last_answer():
    def away():
        raise RuntimeError("the head is away")

    changing = Changing(at(3))
    changing.concurrency.limit()
    changing.concurrency._look = away
    assert changing.after(30) == 3


def test_a_busy_cluster_is_said_once_with_what_others_use():
    changing = Changing(at(4, free=0, held=2, waiting=1, needs=2), cpus_per_worker=2)
    changing.after(20)
    assert changing.said == []
    changing.after(300)
    assert changing.said == [
        "1 trial waits for 2 CPU, used by others: of 4 CPU others use 2 CPU, this study 2 CPU",
    ]


def test_a_trial_that_only_takes_its_time_to_start_is_not_said():
    changing = Changing(at(4, waiting=1))
    changing.after(300)
    assert changing.said == []


def test_what_waits_again_much_later_is_said_again():
    changing = Changing(at(1, free=0, waiting=1))
    changing.after(60)
    changing.after(60, at(1, held=1))
    changing.after(3600, at(1, free=0, waiting=1))
    assert 2 <= len(changing.said) <= 10
    assert len(set(changing.said)) == 1


def test_a_cluster_whose_nodes_have_left_ends_the_study_after_the_stated_time():
    changing = Changing(at(1, held=1), wait_for_nodes_s=120)
    changing.after(100, at(waiting=1))
    assert changing.said[0].startswith("1 trial waits for a node: one takes 1 CPU, and the cluster has 0 CPU.")
    assert changing.ended == []
    changing.after(30)
    assert changing.ended[0].startswith("no node of the cluster had room for a trial for 120 s")


def test_a_node_that_comes_back_in_time_ends_nothing():
    changing = Changing(at(1, held=1), wait_for_nodes_s=120)
    for _ in range(3):
        changing.after(100, at(waiting=1))
        changing.after(10, at(1, held=1))
    assert changing.ended == []


def test_running_trials_are_left_alone_though_no_node_has_room_for_a_further_one():
    """As on a node whose resources were lowered."""
    changing = Changing(at(2, held=2), cpus_per_worker=2, wait_for_nodes_s=10)
    changing.after(60, at(1, held=2, free=0, waiting=1, needs=2))
    assert changing.ended == []


def test_nodes_that_an_autoscaler_may_add_are_named():
    why = waits_for(ResourcesConfig(), at(1, free=0, held=1, waiting=2, ahead=[(1, 4)]))
    assert why == ("autoscaler", "2 trials wait for 1 CPU, for which the cluster's autoscaler may add nodes")


@pytest.mark.parametrize(
    ("resources", "total", "ahead", "worth"),
    [
        pytest.param({}, {}, [], True, id="no workers yet"),
        pytest.param({"gpus_per_worker": 1}, {"CPU": 8}, [], True, id="no GPU node yet"),
        pytest.param({"cpus_per_worker": 8}, {"CPU": 4}, [], False, id="too small, and nobody adds nodes"),
        pytest.param({"cpus_per_worker": 8}, {"CPU": 4}, [({"CPU": 16}, 2)], True, id="the autoscaler has larger ones"),
        pytest.param({"cpus_per_worker": 8}, {}, [({"CPU": 4}, 9)], False, id="no kind of node is large enough"),
        pytest.param({"workers": 3}, {}, [({"CPU": 1}, 2)], False, id="not enough of them"),
    ],
)
def test_only_what_may_come_is_waited_for(resources, total, ahead, worth):
    assert may_come(ResourcesConfig(**resources), total, ahead) is worth


def test_a_study_that_can_never_fit_is_refused_at_once(monkeypatch):
    monkeypatch.setattr(cluster, "inventory", lambda: ({"CPU": 4.0}, [{"CPU": 4.0}]))
    monkeypatch.setattr(cluster, "room_ahead", list)
    with pytest.raises(ResourceError, match="the cluster has 4 CPU"):
        awaited(ResourcesConfig(cpus_per_worker=8), may_grow=True, say=lambda line: pytest.fail(line))


@pytest.fixture
def empty(monkeypatch):
    """A cluster whose nodes come after 90 s of a clock that only `sleep` moves."""
    clock, nodes = [0.0], [[]]

    def inventory():
        nodes[0] = [{"CPU": 2.0}] if clock[0] >= 90 else []
        return ({"CPU": 2.0} if nodes[0] else {}), nodes[0]

    def sleep(seconds):
        clock[0] += max(seconds, 0.1)

    monkeypatch.setattr(cluster, "inventory", inventory)
    monkeypatch.setattr(cluster, "room_ahead", list)
    monkeypatch.setattr(concurrency.placement, "asked_for", lambda bundles: contextlib.nullcontext())
    return {"clock": lambda: clock[0], "sleep": sleep}


def test_nodes_that_come_in_time_are_waited_for_and_that_is_said(empty):
    said = []
    fit = awaited(ResourcesConfig(), may_grow=True, say=said.append, **empty)
    assert fit.concurrent == 2
    assert said == [
        "the cluster has no room for a trial yet (it has 0 CPU; one takes 1 CPU); a study waits 600 s for it "
        "(resources.wait_for_nodes_s): waiting for nodes"
    ]


def test_nodes_that_come_too_late_are_an_error_with_the_numbers_and_how_to_go_on(empty):
    with pytest.raises(ResourceError, match=r"has 0 CPU.*came in 60 s.*ray status.*larger resources.wait_for_nodes_s"):
        awaited(ResourcesConfig(wait_for_nodes_s=60), may_grow=True, say=lambda line: None, **empty)


def test_a_ray_of_this_machine_is_not_waited_for(empty):
    with pytest.raises(ResourceError, match="the cluster has 0 CPU"):
        awaited(ResourcesConfig(), may_grow=False, say=lambda line: pytest.fail(line), **empty)
