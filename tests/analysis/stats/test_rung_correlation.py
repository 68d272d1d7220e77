import itertools

import numpy as np
import pytest
from scipy.stats import kendalltau

from analysis.figures import rung_correlation as figure
from analysis.figures import style
from analysis.stats.rung_correlation import fidelity, winners_lost
from analysis.wording import rungs
from tests.analysis.stats.test_stats import study_of, trial


def curves(first, last):
    """Full-length trials whose scores after epochs 1 and 2 are ``first``, after that those at the end."""
    return [
        trial(number, {epoch: float(a if epoch < 3 else b) for epoch in range(1, 10)})
        for number, (a, b) in enumerate(zip(first, last, strict=True))
    ]


ORDER = list(range(12))
MIXED = [3, 11, 0, 7, 5, 1, 9, 2, 10, 4, 8, 6]


def test_the_rank_correlation_is_that_of_all_pairs():
    rung = fidelity(study_of(curves(MIXED, ORDER))).rungs[0]
    pairs = [np.sign(MIXED[b] - MIXED[a]) for a, b in itertools.combinations(ORDER, 2)]
    assert rung.tau == pytest.approx(np.mean(pairs))


def test_a_rung_that_ranks_as_the_end_does_has_correlation_1_and_stops_no_winner():
    rung = fidelity(study_of(curves(ORDER, ORDER))).rungs[0]
    assert (rung.tau, rung.lost, rung.winners, rung.too_early) == (pytest.approx(1), 0, 4, False)


def test_the_interval_is_that_of_resampled_trials():
    rung = fidelity(study_of(curves(MIXED, ORDER)), repeats=200).rungs[0]
    rng = np.random.default_rng(0)
    draws = [kendalltau(np.array(MIXED)[rows], rows).statistic for rows in rng.integers(12, size=(200, 12))]
    assert (rung.low, rung.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])))


@pytest.mark.parametrize(("reduction", "count"), [(2, 7), (3, 12), (3, 10), (4, 13), (5, 6)])
def test_the_winners_lost_are_those_below_the_schedulers_cutoff(reduction, count):
    from ipix_tune.search.asha import Asha

    rng = np.random.default_rng(count)
    early, final = rng.normal(size=(2, count))
    asha = Asha(mode="max", max_epochs=9, grace_epochs=1, reduction=reduction)
    for number, score in enumerate(early):
        asha.decide(str(number), 1, score)
    cutoff = asha.cutoff(1)
    winners = sorted(range(count), key=lambda number: -final[number])[: -(-count // max(3, reduction))]
    lost, of = winners_lost(early, final, reduction=reduction)
    assert of == len(winners)
    assert lost == sum(early[number] < cutoff - 1e-9 for number in winners)


@pytest.mark.parametrize("reduction", [2, 3, 4, 7])
@pytest.mark.parametrize("count", range(6, 20))
def test_a_rung_that_knows_the_end_stops_no_winner(reduction, count):
    scores = np.random.default_rng(count).normal(size=count)
    assert winners_lost(scores, scores, reduction=reduction)[0] == 0


def test_less_is_better_where_the_objective_is_minimised():
    trials = curves([-score for score in MIXED], [-score for score in ORDER])
    turned = study_of(trials)
    object.__setattr__(turned, "mode", "min")
    ours, theirs = fidelity(turned).rungs[0], fidelity(study_of(curves(MIXED, ORDER))).rungs[0]
    assert (ours.tau, ours.lost) == (theirs.tau, theirs.lost)


def test_a_grace_period_that_stops_the_winners_is_too_short_and_the_next_good_one_is_named():
    found = fidelity(study_of(curves(ORDER[::-1], ORDER)))
    assert [(rung.epoch, rung.too_early) for rung in found.rungs] == [(1, True), (3, False)]
    assert found.supported == 3
    said = rungs.say_fidelity(found, study_of(curves(ORDER[::-1], ORDER)))
    assert "a grace period of 1 epoch is too short: it would stop 4 of the 4 winners (n = 12 trials)" in said
    assert "support is 3 epochs (scheduler.grace_epochs: 3)" in said


def test_a_grace_period_is_supported_only_with_all_its_later_rungs():
    trials = curves(ORDER, ORDER)
    for number, one in enumerate(trials):
        one["curve"][3] = float(-number)
    assert fidelity(study_of(trials)).supported == 2


def test_without_a_scheduler_the_rungs_are_those_that_its_settings_would_give():
    study = study_of(curves(ORDER, ORDER))
    object.__setattr__(study, "rungs", ())
    assert [rung.epoch for rung in fidelity(study).rungs] == [1, 3]


def test_below_six_full_length_trials_nothing_is_said():
    study = study_of([*curves(ORDER[:5], ORDER[:5]), trial(5, {1: 1.0}, "stopped")])
    assert fidelity(study) is None
    assert "too few full-length trials (5, 6 needed)" in rungs.say_fidelity(None, study)


def test_the_words_say_that_trials_which_asha_let_through_are_a_selection():
    kept = curves(ORDER, ORDER)
    alone, among = study_of(kept), study_of([*kept, trial(12, {1: 1.0}, "stopped")])
    assert "are a selection" in rungs.say_fidelity(fidelity(among), among)
    assert "are a selection" not in rungs.say_fidelity(fidelity(alone), alone)


def test_scores_that_are_all_alike_have_no_correlation_and_no_error():
    found = fidelity(study_of(curves([1] * 8, range(8))))
    assert np.isnan(found.rungs[0].tau)


def test_the_figure_states_n():
    study = study_of(curves(MIXED, ORDER))
    drawn = figure.draw(fidelity(study), study, style.LIGHT)
    assert "n = 12 full-length trials" in drawn.axes[0].get_title(loc="left")
