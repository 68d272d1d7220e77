"""What the page of a running search says of how far it has come."""

from dataclasses import replace

from analysis.wording.search import _cost
from tests.analysis.made import END, UNIT, make_study


def running(states, *, planned):
    """Trials that ran ten minutes each, one after the other."""
    configs = [{"tau": 0.1 * number} for number in range(len(states))]
    study = make_study({"tau": UNIT}, configs, [{END: 50.0}] * len(states), states=states)
    trials = [replace(one, runtime_s=600.0, ended_at=600.0 * (one.number + 1)) for one in study.trials]
    return replace(study, trials=tuple(trials), planned=planned)


def test_a_running_search_says_how_many_trials_of_how_many_and_how_long_it_goes_on():
    said = _cost(running(["complete", "complete", "running"], planned=12))
    assert said.startswith("3 of 12 trials (2 complete, 1 running)")
    # 30 minutes for two trials that ended, ten more to end
    assert said.endswith("About 2.5 hours to go, at the pace so far.")


def test_before_the_first_trial_has_ended_no_time_is_said():
    assert "to go" not in _cost(running(["running", "running"], planned=12))


def test_a_search_that_has_ended_speaks_of_no_plan():
    said = _cost(running(["complete", "complete", "complete"], planned=12))
    assert said.startswith("3 trials (3 complete)")
    assert "to go" not in said


def test_logs_that_do_not_say_how_many_trials_there_will_be_are_read():
    said = _cost(running(["complete", "running"], planned=None))
    assert said.startswith("2 trials (1 complete, 1 running)")
