"""The headline and the next step: in random studies no sentence contradicts the figures that it stands on."""

import math
import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.ingest.tables import build_tables
from analysis.sections.confirmation import confirmation_sections, confirmed_headline
from analysis.stats.confirm.results import confirmed
from analysis.stats.study import from_tables
from analysis.units import amount
from analysis.wording import outcome as outcomes
from analysis.wording.next_step import next_step
from analysis.wording.outcome import beside, candidates, outcome, question_of
from analysis.wording.search import answer
from tests.analysis.confirmations import ARMS, BARE, DEFAULTS, PLAN, confirm_run, confirmed_runs, scores_of, searched
from tests.analysis.confirmations import TOP as FIRST
from tests.analysis.stats.test_stats import runs_of, trial

PLACE = Path("studies/s")
SPAN = re.compile(r"(?:by|is) ([+-]?[\d.e+-]+), from ([+-]?[\d.e+-]+) to ([+-]?[\d.e+-]+)[, (]")


def found_in(runs):
    return confirmed(build_tables([*searched(), *runs]))


def told(effects, *, seeds, **more):
    return outcome(found_in(confirmed_runs(scores_of(effects, seeds=seeds, **more))))


def test_where_nothing_is_shown_to_beat_the_defaults_the_headline_says_so_with_the_best_candidates_interval():
    said = told({FIRST: 1.4, DEFAULTS: 0.0, BARE: -1.0}, seeds=4, noise=2.0)
    assert re.match(
        r"Nothing tried is shown to beat the defaults; the best candidate, top 1, is [+-]\d+\.\d, from -\d+\.\d to "
        r"\+\d+\.\d \(\d paired seeds\)\.$",
        said,
    )


def test_a_candidate_that_beats_the_defaults_is_named_with_how_much():
    said = told({FIRST: 3.0, DEFAULTS: 0.0, BARE: 0.0}, seeds=8, noise=0.1)
    assert re.match(r"top 1 beats the defaults by [\d.]+, from [\d.]+ to [\d.]+ \(\d paired seeds\)\.$", said)


def test_defaults_that_beat_every_candidate_are_the_answer():
    said = told({FIRST: -3.0, DEFAULTS: 0.0, BARE: -4.0}, seeds=8, noise=0.1)
    assert said.startswith("The defaults beat everything that was compared with them; the nearest, ")


def test_before_the_first_look_there_is_no_answer_and_the_headline_says_when():
    said = told({FIRST: 3.0, DEFAULTS: 0.0, BARE: 0.0}, seeds=2)
    assert said == "No answer yet: 2 seeds have ended in both of two configurations, and the first look is at 3."


def test_without_defaults_the_question_is_which_is_best():
    arms = {name: {**known, "roles": ["top"]} for name, known in ARMS.items()}
    scores = scores_of({FIRST: 3.0, DEFAULTS: 0.0, BARE: 0.0}, seeds=8, noise=0.1)
    found = found_in(confirmed_runs(scores, arms=arms))
    assert question_of(found).startswith("Which of 3 configurations is best")
    assert outcome(found).startswith("top 1 beats ")


effect = st.sampled_from([-3.0, -0.5, 0.0, 0.2, 1.0, 3.0])


@st.composite
def confirmations(draw):
    """Scores of three arms with noise, runs that collapse or fail, either direction, with defaults or without."""
    seeds = draw(st.integers(1, 8))
    made = scores_of(
        {FIRST: draw(effect), DEFAULTS: 0.0, BARE: draw(effect)},
        seeds=seeds,
        noise=draw(st.sampled_from([0.01, 0.1, 0.5, 2.0])),
        seed=draw(st.integers(0, 1000)),
    )
    failed = []
    for arm in made:
        for seed in range(seeds):
            fate = draw(st.integers(0, 11))
            if fate == 0:
                made[arm][seed] -= 9.0
            elif fate == 1:
                del made[arm][seed]
                failed.append((arm, seed))
    mode = draw(st.sampled_from(["max", "min"]))
    arms = ARMS if draw(st.booleans()) else {name: {**known, "roles": ["top"]} for name, known in ARMS.items()}
    runs = confirmed_runs(made, mode=mode, arms=arms) if any(made.values()) else []
    runs += [
        confirm_run(500 + i, arm, seed, 1.0, state="failed", mode=mode, arms=arms)
        for i, (arm, seed) in enumerate(failed)
    ]
    if mode == "min":
        for one in runs:
            one.config["objective"]["mode"] = "min"
    return runs


def searched_like(runs):
    mode = runs[0].config["objective"]["mode"]
    found = searched()
    for one in found:
        one.config["objective"]["mode"] = mode
    return found


@settings(max_examples=50, deadline=None)
@given(runs=confirmations())
def test_every_headline_of_a_random_confirmation_agrees_with_its_verdicts(runs):
    tables = build_tables([*searched_like(runs), *runs])
    found = confirmed(tables)
    said = outcome(found)
    figures = SPAN.search(said)
    if figures:
        value, low, high = map(float, figures.groups())
        assert low <= value <= high
    defaults = [arm.name for arm in found.arms if "defaults" in arm.roles]
    sides = candidates(found, defaults[0]) if defaults else []
    if "beats the defaults by" in said and not said.startswith("Nothing"):
        assert any(one.kind == "better" and said.startswith(f"{one.arm} beats") for one in sides)
        assert low >= 0
    if said.startswith("Nothing tried"):
        assert all(one.kind != "better" for one in sides)
        looked = [one for one in sides if math.isfinite(one.low)]
        assert f"the best candidate, {max(looked, key=lambda one: one.effect).arm}, is" in said
    if said.startswith("The defaults beat everything"):
        assert all(one.kind == "worse" for one in sides)
        assert high <= 0
    if said.startswith("No configuration is shown to be the best"):
        leading = beside(found, found.choice.arm)
        assert any(one.kind in ("undecided", "worse") for one in leading)
    head = confirmed_headline(found)
    if head is not None:
        assert head.headline == said
        assert ("not confirmed" in head.shown) == (not found.choice.confirmed)
        lost = found.arm(found.choice.arm).lost
        assert lost.words in head.trust


@settings(max_examples=25, deadline=None)
@given(runs=confirmations())
def test_the_next_step_of_a_random_confirmation_is_one_and_fits_where_it_stands(runs):
    tables = build_tables([*searched_like(runs), *runs])
    found = confirmed(tables)
    step = next_step(from_tables(tables), tables, PLACE, found)
    assert step.what
    if not found.judgement.over:
        assert step.command == "ipix-tune confirm studies/s --resume"
        assert f"{len(found.judgement.wanted)} run" in step.price
    elif "--more-seeds" in step.command:
        assert any(not one.decided for one in found.judgement.verdicts)
        assert not found.choice.confirmed
    elif step.command:
        assert step.command.startswith("ipix-tune export studies/s --out best.yaml")


STATES = st.sampled_from(["complete", "stopped", "failed", "running", "interrupted"])


@settings(max_examples=60, deadline=None)
@given(
    drawn=st.lists(st.tuples(STATES, st.floats(0, 100), st.integers(0, 9), st.integers(0, 2)), min_size=1, max_size=8)
)
def test_the_headline_of_a_random_search_is_provisional_or_no_answer_and_its_score_is_the_best_trials(drawn):
    trials = []
    for number, (state, score, epochs, tau) in enumerate(drawn):
        last = 9 if state == "complete" else epochs
        curve = {epoch: score - (9 - epoch) for epoch in range(1, last + 1)}
        trials.append(trial(number, curve, state, **{"interpixel.tau": 0.1 * tau}) | {"error": "it broke"})
    tables = build_tables(runs_of(trials, seeds=list(range(len(trials)))))
    study = from_tables(tables)
    said, best = answer(study, tables), study.best()
    step = next_step(study, tables, PLACE, None)
    assert step.what
    assert said.provisional
    if best is None:
        assert said.headline.startswith("No answer")
        assert f"{study.mean_score(best):.2f}" if best else True
        return
    assert said.headline.startswith(f"Provisional winner: trial {best.number}, val/miou {study.mean_score(best):.2f} %")
    if all(one.state != "running" for one in study.trials):
        wanted = "ipix-tune confirm studies/s" if study.complete else "ipix-tune sweep studies/s/study.yaml --resume"
        assert step.command.startswith(wanted)


def test_a_study_of_failed_trials_says_so_and_names_the_fault():
    tables = build_tables(runs_of([trial(0, {}, "failed") | {"error": "loss is NaN"}]))
    study = from_tables(tables)
    assert answer(study, tables).headline == "No answer: the only trial failed."
    assert next_step(study, tables, PLACE, None).what == "Mend what made trial 0 fail: loss is NaN"


def test_the_price_is_in_this_studys_own_time():
    runs = runs_of([trial(0, {epoch: 40.0 + epoch for epoch in range(1, 10)})])
    for row in runs[0].history.values():
        row |= {"time/epoch_s": 55.0, "time/eval_s": 5.0}
    tables = build_tables(runs)
    step = next_step(from_tables(tables), tables, PLACE, None)
    assert step.price.startswith("at least 9 runs of 9 epochs, about 1.4 trial hours")
    assert "with --dry-run the command says what this study's own plan takes" in step.price
    assert math.isclose(9 * 9 * 60 / 3600, 1.35)


def test_a_trainer_that_takes_no_seed_is_not_told_to_confirm():
    tables = build_tables(runs_of([trial(0, {epoch: 40.0 + epoch for epoch in range(1, 10)})]))
    tables.facts["trains"] = {"by": "command", "unpaired": "the command takes no seed"}
    step, said = next_step(from_tables(tables), tables, PLACE, None), answer(from_tables(tables), tables)
    assert step.what.startswith("Nothing can be confirmed as it is: the command takes no seed.")
    assert (step.command, step.price) == ("", "")
    assert "several times before you believe" in said.trust


def test_the_role_of_the_defaults_is_the_one_that_the_study_side_logs():
    from ipix_tune.study import confirm_arms as arms

    assert arms.DEFAULTS == outcomes.DEFAULTS


def test_that_the_defaults_beat_a_variant_stands_on_the_first_screen_where_nothing_is_shown_to_beat_them():
    scores = scores_of({FIRST: 3.0, DEFAULTS: 3.0, BARE: 0.0}, seeds=5, noise=0.4, seed=1)
    found = found_in(confirmed_runs(scores, plan={**PLAN, "comparisons": [[FIRST, DEFAULTS], [DEFAULTS, BARE]]}))
    assert outcome(found).startswith("Nothing tried is shown to beat the defaults; the best candidate, top 1, is ")
    assert "What is shown: the defaults beat interpixel.alpha=0 by " in confirmed_headline(found).trust


def test_what_is_decided_stands_on_the_first_screen_where_the_answer_is_not():
    scores = scores_of({FIRST: 3.0, DEFAULTS: 3.0, BARE: 0.0}, seeds=5, noise=0.4, seed=1)
    arms = {**ARMS, BARE: {**ARMS[BARE], "of": [FIRST]}}
    plan = {**PLAN, "comparisons": [[FIRST, DEFAULTS], [FIRST, BARE]]}
    found = found_in(confirmed_runs(scores, arms=arms, plan=plan))
    assert outcome(found).startswith("Nothing tried is shown to beat the defaults")
    assert "What is shown: top 1 beats interpixel.alpha=0 by " in confirmed_headline(found).trust


def test_a_difference_that_rounds_to_nothing_has_no_minus_sign():
    one = outcomes.SidedVerdict(
        arm="top 1", other="defaults", kind="undecided", effect=-0.04, low=-1.07, high=0.99, pairs=7
    )
    assert outcomes._figures(one, "+") == "+0.0, from -1.1 to +1.0"


def test_an_end_of_an_interval_that_is_not_zero_is_not_printed_as_zero():
    one = outcomes.SidedVerdict(arm="a", other="b", kind="better", effect=4.21, low=0.02, high=8.4, pairs=4)
    assert outcomes._figures(one, "") == "4.21, from 0.02 to 8.40"


def test_every_sentence_on_the_smallest_difference_that_matters_gives_its_value_and_unit(undrawn):
    for means, noise in (({FIRST: 0.1, DEFAULTS: 0.0, BARE: 0.0}, 0.6), ({FIRST: 1.0, DEFAULTS: 0.0, BARE: 0.0}, 0.1)):
        found = found_in(confirmed_runs(scores_of(means, seeds=8, noise=noise)))
        (section,) = confirmation_sections(found, undrawn)
        said = [outcome(found), section.reading, *section.notes, *section.table[0], *(row[0] for row in section.table)]
        said += [one.words for one in found.judgement.verdicts] + [found.choice.words]
        assert [text for text in said if re.search(r"\bdelta\b", text)] == []
        assert any("0.3 mIoU" in text for text in said)
    assert amount("0.3", "val/recent/miou") == "0.3 mIoU"
    assert amount("0.3", "val/iou/3") == "0.3 points of IoU of class 3"
    assert amount("0.3", "val/loss") == "0.3 in val/loss"
