import io
import random
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ipix_tune.config.study_config import StudyConfig
from ipix_tune.config.validate_space import check_study
from ipix_tune.execution.resources import ResourceError, fit_resources
from ipix_tune.search.rungs import expected_epochs, passing, rungs
from ipix_tune.study.dry_run import many_at_once
from ipix_tune.study.plan import _ends, make_plan, render
from ipix_tune.trainer.own.step_timing import StepTiming
from ipix_tune.trainer.resources import ResourcesConfig
from tests.ipix_tune.studies import base


def study_of(**changes):
    return check_study(StudyConfig.model_validate(base() | changes), source="study", lines={})


def printed(renderable):
    console = Console(file=io.StringIO(), width=200)
    console.print(renderable)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("scheduler", "epochs", "expected"),
    [
        ({"grace_epochs": 1, "reduction": 3}, 9, (1, 3, 9)),
        ({"grace_epochs": 5, "reduction": 3}, 80, (5, 15, 45)),
        ({"grace_epochs": 2, "reduction": 4}, 9, (2, 8)),
        ({"grace_epochs": 9, "reduction": 3}, 9, (9,)),
        ({"name": "none"}, 9, ()),
    ],
)
def test_rungs_are_grace_times_powers_of_the_reduction(scheduler, epochs, expected):
    assert rungs(study_of(scheduler=scheduler), max_epochs=epochs) == expected


@pytest.mark.parametrize(("arrivals", "reduction"), [(1, 3), (2, 3), (5, 2), (12, 3), (30, 4)])
def test_the_trials_expected_to_pass_a_rung_agree_with_a_simulated_rung(arrivals, reduction):
    rng = np.random.default_rng(0)
    scores = rng.uniform(size=(20000, arrivals))
    passed = [np.ones(len(scores))]
    for n in range(1, arrivals):
        passed.append(scores[:, n] >= np.percentile(scores[:, :n], 100 * (1 - 1 / reduction), axis=1))
    assert passing(arrivals, reduction=reduction) == pytest.approx(np.mean(sum(passed)), abs=0.03)


def test_of_many_trials_one_in_the_reduction_passes():
    assert passing(20000, reduction=3) / 20000 == pytest.approx(1 / 3, rel=0.01)


def test_one_trial_alone_is_expected_to_run_in_full():
    assert expected_epochs(1, rungs=(1, 3), max_epochs=9, reduction=3) == 9


def test_expected_epochs_lie_between_all_stopped_at_once_and_none_stopped():
    expected = expected_epochs(12, rungs=(1, 3, 9), max_epochs=9, reduction=3)
    assert 12 < expected < 12 * 9


def test_expected_epochs_sum_the_stretches_between_rungs():
    after_1 = passing(12, reduction=3)
    after_3 = passing(after_1, reduction=3)
    assert expected_epochs(12, rungs=(1, 3, 9), max_epochs=9, reduction=3) == pytest.approx(
        12 * 1 + after_1 * 2 + after_3 * 6
    )


@pytest.mark.parametrize(
    ("resources", "cluster", "nodes", "concurrent"),
    [
        ({}, {"CPU": 2}, (), 2),
        ({"cpus_per_worker": 0.5}, {"CPU": 2}, (), 4),
        ({"workers": 2}, {"CPU": 5}, (), 2),
        ({"gpus_per_worker": 0.25}, {"CPU": 8, "GPU": 1}, (), 4),
        ({"gpus_per_worker": 0.6}, {"CPU": 8, "GPU": 2}, (), 2),
        ({"gpus_per_worker": 0.4}, {"CPU": 16, "GPU": 3}, (), 6),
        ({"gpus_per_worker": 0.1}, {"CPU": 16, "GPU": 0.3}, (), 3),
        ({"gpus_per_worker": 1, "cpus_per_worker": 4}, {"CPU": 16, "GPU": 8}, (), 4),
        ({"concurrent": 2}, {"CPU": 16}, (), 2),
        ({"workers": 2, "cpus_per_worker": 3}, {"CPU": 8}, ({"CPU": 4}, {"CPU": 4}), 1),
        ({"cpus_per_worker": 0.1}, {"CPU": 0.3}, (), 3),
    ],
)
def test_as_many_trials_run_at_once_as_have_room_for_all_their_workers(resources, cluster, nodes, concurrent):
    fit = fit_resources(ResourcesConfig.model_validate(resources), cluster=cluster, nodes=nodes)
    assert fit.concurrent == concurrent


@pytest.mark.parametrize(
    ("resources", "nodes", "said"),
    [
        (
            {"cpus_per_worker": 6},
            [(32, 8)],
            ["3 of 8 GPU", "takes 6 for each", "resources.cpus_per_worker=4 uses them"],
        ),
        ({"cpus_per_worker": 6}, [(32, 4), (16, 4)], ["2 of 8 GPU", "resources.cpus_per_worker=4 uses them"]),
        (
            {"cpus_per_worker": 6, "gpus_per_worker": 2},
            [(6, 5)],
            ["2 of 5 GPU", "resources.cpus_per_worker=3 uses them"],
        ),
        ({"cpus_per_worker": 2}, [(4, 8)], ["6 of 8 GPU", "; give each node more CPUs"]),
        ({"cpus_per_worker": 4}, [(32, 8), (2, 0)], None),
        ({"cpus_per_worker": 6, "concurrent": 2}, [(32, 8)], None),
        ({"cpus_per_worker": 6, "gpus_per_worker": 0}, [(32, 8)], None),
    ],
)
def test_gpus_that_stay_idle_for_want_of_cpus_are_counted_with_the_remedy(resources, nodes, said):
    has = [{"CPU": float(cpus), "GPU": float(gpus)} for cpus, gpus in nodes]
    cluster = {name: sum(node[name] for node in has) for name in ("CPU", "GPU")}
    asked = ResourcesConfig.model_validate({"gpus_per_worker": 1} | resources)
    idle = fit_resources(asked, cluster=cluster, nodes=has).idle
    assert (idle is None) == (said is None)
    assert all(one in idle for one in said or ())


@pytest.mark.parametrize(
    ("at_once", "trials", "sampler", "warned"),
    [
        (32, 96, {"name": "tpe"}, True),
        (24, 96, {"name": "tpe"}, False),
        (8, 12, {"name": "tpe"}, False),
        (8, 12, {"name": "tpe", "startup_trials": 2}, True),
        (32, 96, {"name": "random"}, False),
    ],
)
def test_trials_that_start_before_any_score_are_warned_of_where_they_are_many(at_once, trials, sampler, warned):
    plan = make_plan(study_of(budget={"trials": trials}, sampler=sampler), cluster={"CPU": at_once})
    said = many_at_once(plan)
    assert [f"{at_once} of {trials} trials start before" in line for line in said] == [True] * warned


def test_a_study_with_more_workers_than_the_cluster_has_is_refused_with_the_numbers():
    with pytest.raises(ResourceError) as caught:
        fit_resources(ResourcesConfig(workers=4, gpus_per_worker=1), cluster={"CPU": 2.0, "GPU": 1.0})
    for text in ("4 x (1 CPU + 1 GPU)", "4 CPU + 4 GPU", "the cluster has 2 CPU + 1 GPU", "resources.workers"):
        assert text in str(caught.value)


def test_a_gpu_wanted_on_a_cluster_without_one_is_refused_with_the_numbers():
    with pytest.raises(ResourceError, match=r"the cluster has 8 CPU \+ 0 GPU"):
        fit_resources(ResourcesConfig(gpus_per_worker=1), cluster={"CPU": 8.0})


def test_a_worker_that_fits_the_sum_of_the_nodes_and_no_node_is_refused():
    nodes = ({"CPU": 2.0}, {"CPU": 2.0})
    with pytest.raises(ResourceError, match=r"on 2 nodes \(2 CPU; 2 CPU\)"):
        fit_resources(ResourcesConfig(cpus_per_worker=3), cluster={"CPU": 4.0}, nodes=nodes)


def test_the_plan_counts_trials_and_epochs():
    plan = make_plan(study_of(), cluster={"CPU": 2})
    assert (plan.trials, plan.max_epochs, plan.epochs_at_most, plan.rungs) == (12, 9, 108, (1, 3, 9))
    assert plan.fit.concurrent == 2


def test_a_plan_without_early_stopping_expects_every_epoch():
    assert make_plan(study_of(scheduler={"name": "none"})).epochs_expected is None


def test_a_plan_of_a_grid_ends_with_the_grid():
    search = {"method.teacher": {"choice": ["shared", "ema"]}}
    points = [{"method.teacher": "ema"}]  # of the grid, so that it is not run twice
    plan = make_plan(study_of(search=search, points=points, sampler={"name": "grid"}))
    assert (plan.grid_size, plan.trials) == (2, 2)


def test_the_printed_plan_says_what_is_at_stake():
    text = printed(render(make_plan(study_of(), cluster={"CPU": 2}), data=["digits: 20 labelled"]))
    for wanted in (
        "12 by tpe, 1 of them given",
        "after epoch 1, 3 of 9",
        "at most 108 (12 x 9)",
        "expected",
        "1 x (1 CPU) a trial, 2 at once on 2 CPU",
        "digits: 20 labelled",
        "not measured",
        "loguniform [0.01, 10.0]",
        "method.teacher: ema",
    ):
        assert wanted in text, text


def test_a_measured_cost_is_printed_as_a_range_of_time():
    cost = StepTiming(device="CPU", step_s=(1.0, 2.0), evaluation_s=8.0, steps_per_epoch=100, every=2)
    assert cost.trial_hours(9) == (9 * 104 / 3600, 9 * 204 / 3600)
    text = printed(render(make_plan(study_of(), cluster={"CPU": 2}), cost=cost))
    low, high = 108 * 104 / 3600 / 2, 108 * 204 / 3600 / 2
    assert f"at most: {low:.3g} h to {high:.3g} h with 2 at once" in text


def test_a_cost_below_an_hour_is_printed_in_minutes():
    cost = StepTiming(device="CPU", step_s=(0.1, 0.1), evaluation_s=0, steps_per_epoch=10, every=1)
    assert "at most: 1.8 min to 1.8 min" in printed(render(make_plan(study_of()), cost=cost))


def test_the_sampled_config_is_the_same_every_time():
    random.seed(1)
    first = make_plan(study_of()).sample
    random.seed(2)
    assert make_plan(study_of()).sample == first


def test_the_plan_does_not_touch_the_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_plan(study_of(), cluster={"CPU": 2})
    assert list(Path(tmp_path).iterdir()) == []


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        ({"hours": 2}, "no new one after 2 h"),
        ({"epochs": 500}, "no new one after 500 epochs of all trials together"),
        (
            {"no_improvement": {"trials": 40, "by": 0.3}},
            "no new one after 40 in a row that are no better by more than 0.3",
        ),
        (
            {"stop": "regret"},
            "no new one once what is left to gain is below what seeds differ by (budget.stop: regret)",
        ),
    ],
)
def test_the_plan_says_what_may_end_the_search_before_its_last_trial(budget, told):
    assert _ends(study_of(budget={"trials": 60, **budget}).budget) == [told]
