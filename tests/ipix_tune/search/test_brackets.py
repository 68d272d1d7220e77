import random
from collections import Counter

import pytest

from ipix_tune.config.load_study import load
from ipix_tune.search.asha import Asha
from ipix_tune.search.rungs import bracket_of, bracket_shares, expected_epochs
from ipix_tune.study.calibrate import brackets_instead
from tests.ipix_tune.search.test_trial_store import report
from tests.ipix_tune.studies import base, write
from trainers.common.errors import ConfigError


def asha(brackets, *, quota=True):
    return Asha(mode="max", max_epochs=27, grace_epochs=1, reduction=3, quota=quota, brackets=brackets)


def ends(scheduler, trials, *, seed):
    """The epoch after which each trial of a study with made-up scores ended."""
    rng, found = random.Random(seed), []
    for number in range(trials):
        quality, epoch = rng.random(), 1
        while report(scheduler, f"t{number:04d}", epoch, quality + epoch) == "CONTINUE" and epoch < 27:
            epoch += 1
        found.append(epoch)
    return found


def test_shares_are_those_of_hyperband():
    """Li et al. 2018, algorithm 1: ceil((s_max + 1) / (s + 1) * eta^s) trials, before rounding."""
    trials = [4 / (s + 1) * 3**s for s in (3, 2, 1, 0)]
    assert bracket_shares(4, reduction=3) == pytest.approx([one / sum(trials) for one in trials])


def test_every_bracket_has_its_share_of_the_first_trials_however_many():
    shares = bracket_shares(3, reduction=3)
    given = Counter[int]()
    for number in range(300):
        given[bracket_of(number, brackets=3, reduction=3)] += 1
        assert all(abs(given[one] - share * (number + 1)) < 1 for one, share in enumerate(shares))


def test_no_trial_ends_before_its_brackets_first_rung():
    found = ends(asha(4), 120, seed=0)
    first = [(1, 3, 9, 27)[bracket_of(number, brackets=4, reduction=3)] for number in range(120)]
    assert all(end >= least for end, least in zip(found, first, strict=True))
    assert {end for end, least in zip(found, first, strict=True) if end == least} == {1, 3, 9, 27}


def test_a_slow_starter_that_one_bracket_stops_runs_on_in_another():
    stopped, judged_later = asha(1), asha(2)
    late = next(number for number in range(20, 60) if bracket_of(number, brackets=2, reduction=3) == 1)
    for scheduler in (stopped, judged_later):
        for number in range(late):
            report(scheduler, f"t{number:04d}", 1, 1.0 + number / 100)
    assert report(stopped, f"t{late:04d}", 1, 0.0) == "STOP"
    assert report(judged_later, f"t{late:04d}", 1, 0.0) == "CONTINUE"


def test_trials_that_a_rung_does_not_judge_fill_none_of_its_places():
    for brackets in (1, 2, 4):
        scheduler = asha(brackets)
        ends(scheduler, 90, seed=1)
        for rung, passed in scheduler._passed.items():
            judged = [key for key in scheduler.rungs[rung] if scheduler._is_judged(key, rung)]
            assert passed <= set(judged)


def test_the_plan_counts_each_bracket_from_its_own_first_rung():
    together = expected_epochs(100, rungs=(1, 3, 9), max_epochs=27, reduction=3, brackets=4)
    one = [expected_epochs(100, rungs=rungs, max_epochs=27, reduction=3) for rungs in ((1, 3, 9), (3, 9), (9,), ())]
    assert one[-1] == 2700
    assert one[0] < together < one[-1]


def test_more_brackets_than_rungs_are_refused_with_the_most_there_can_be(tmp_path):
    file = write(tmp_path, {**base(), "scheduler": {"brackets": 9}})
    with pytest.raises(ConfigError, match=r"scheduler\.brackets = 9: .* brackets at most"):
        load(file)


def test_a_calibration_names_the_brackets_by_which_a_part_of_the_trials_has_the_supported_grace_period(tmp_path):
    study = load(write(tmp_path, {**base(), "scheduler": {"grace_epochs": 1}}))
    assert "scheduler.brackets: 3: only a part of the trials is then not judged before epoch 9" in str(
        brackets_instead(study, 9)
    )
    assert brackets_instead(study, 1) is None
    assert brackets_instead(study, None) is None
