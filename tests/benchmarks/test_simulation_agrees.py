import pytest

from benchmarks.simulation_agrees import EPOCHS, agreement, entries, simulated, study_of, train, whole
from ipix_tune.execution.progress_table import ProgressTable, TrialRow
from ipix_tune.search.trial_record import TrialRecord


def entry(number, lr, scores, state="stopped"):
    return TrialRecord(key=f"t{number:04d}", values={"lr": lr}, scores=scores, state=state, error=None, retries=0)


def full(level):
    return {epoch: level + epoch for epoch in range(1, EPOCHS + 1)}


def test_a_run_agrees_with_itself():
    run = [entry(0, 0.1, full(1.0), "complete"), entry(1, 0.2, {1: 5.0})]
    one = agreement(run, run)
    assert (one.same_configs, one.same_ends, one.same_best, one.same_scores) == (1.0, 1.0, True, True)
    assert one.epochs == (EPOCHS + 1, EPOCHS + 1)


def test_what_differs_is_counted_by_configuration_not_by_number():
    real = [entry(0, 0.1, full(1.0), "complete"), entry(1, 0.2, {1: 5.0}), entry(2, 0.3, {1: 6.0})]
    virtual = [entry(0, 0.2, full(4.0), "complete"), entry(1, 0.1, full(1.0), "complete"), entry(2, 0.3, {1: 6.5})]
    one = agreement(real, virtual)
    assert one.same_configs == pytest.approx(1 / 3)
    assert one.same_ends == pytest.approx(2 / 3)
    assert (one.same_best, one.same_scores) == (False, False)
    assert one.best == (10.0, 13.0)


@pytest.mark.slow
def test_one_trial_after_the_other_the_simulation_is_the_real_run(tmp_path):
    """TPE and ASHA on Ray; then the same study file on the curves of its configurations, trained at full length."""
    study = study_of(tmp_path, sampler="tpe", concurrent=1, trials=9)
    train(study)
    real, virtual = entries(study), simulated(study, train(whole(study)))
    assert {one.state for one in real} == {"complete", "stopped"}
    assert virtual.entries == real
    progress = ProgressTable(metric="val/miou", mode="max", total=9, max_epochs=EPOCHS)
    for one in real:
        progress.rows[one.key] = TrialRow(values=one.values, state=one.state)
        progress.rows[one.key].reported(max(one.scores), score=one.scores[max(one.scores)], second_score=None)
    last = virtual.trajectory[-1]
    assert progress.best() == (last.key, last.score)
