"""A confirmation from the tables alone: which scores count, what is said, and that the search stays free of it."""

import copy
import csv
import dataclasses
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from analysis.figures import confirmation as figure
from analysis.figures import style
from analysis.ingest.tables import build_tables, load, save
from analysis.page.table_confirm import write_confirmed
from analysis.sections.confirmation import confirmation_sections, confirmed_headline, notes_on
from analysis.sections.surrogate import surrogate_sections
from analysis.stats.confirm.results import confirmed, mean_of
from analysis.stats.confirm.seed_race import judge
from analysis.stats.sensitivity.external_evidence import ExternalPair, confirmed_pairs
from analysis.stats.study import from_tables
from analysis.wording.search import answer
from analysis.wording.sensitivity import say_pair
from tests.analysis.confirmations import (
    ARMS,
    BARE,
    DEFAULTS,
    TOP,
    confirm_run,
    confirmed_runs,
    race_plan,
    scores_of,
    searched,
)
from tests.analysis.confirmations import run as logged

EFFECTS = {TOP: 1.5, DEFAULTS: 0.4, BARE: 0.0}


def found_tables(runs):
    return build_tables([*searched(), *runs])


def found_in(runs):
    return confirmed(found_tables(runs))


def without(scores, run):
    return {arm: {s: v for s, v in of_arm.items() if (arm, s) != run} for arm, of_arm in scores.items()}


@pytest.fixture
def section_of(undrawn):
    def made(tables):
        (section,) = confirmation_sections(confirmed(tables), undrawn)
        return section

    return made


def test_the_judgement_is_that_of_the_race_on_the_same_scores():
    scores = scores_of(EFFECTS, seeds=5)
    found = found_in(confirmed_runs(scores))
    assert found.judgement == judge(scores, race_plan(), metric="val/miou")
    assert {arm.name: arm.scores for arm in found.arms} == scores


def test_an_arm_whose_empty_changes_wandb_has_dropped_is_an_arm_all_the_same():
    """W&B writes the config anew, without empty mappings, once a run logs pictures with masks."""
    tables = found_tables(confirmed_runs(scores_of(EFFECTS, seeds=5)))
    wanted = confirmed(tables)
    for arm in tables.facts["confirm"]["arms"].values():
        if not arm["changes"]:
            del arm["changes"]
    assert confirmed(tables) == wanted


def test_an_arm_that_breaks_a_constraint_is_named_with_its_figure_and_not_chosen():
    runs = [*searched(), *confirmed_runs(scores_of(EFFECTS, seeds=5))]
    for one in runs:
        one.config["constraints"] = {"memory/peak_mib": {"min": None, "max": 100, "at_end": False}}
        large = one.config.get("confirm", {}).get("arm") == TOP
        for epoch, row in one.history.items():
            row["memory/peak_mib"] = 115.0 + epoch if large else 80.0
    found = confirmed(build_tables(runs))
    assert found.arm(TOP).breaks == "memory/peak_mib is 119, at most 100 is allowed (5 of 5 runs)"
    assert found.judgement.leader != TOP
    assert "worse than top 1, which breaks a constraint" in found.choice.qualification
    assert any(
        note.startswith(f"BREAKS A CONSTRAINT, and is compared but not chosen: {TOP}") for note in notes_on(found)
    )
    plain = found_in(confirmed_runs(scores_of(EFFECTS, seeds=5)))
    assert [one.kind for one in found.judgement.verdicts] == [one.kind for one in plain.judgement.verdicts]


def test_a_trainer_that_tells_no_split_is_not_given_an_unknown_one():
    headline = confirmed_headline(found_in(confirmed_runs(scores_of(EFFECTS, seeds=5))))
    assert headline is not None
    assert "the trainer told no split" in headline.cost


def test_where_less_is_better_the_order_turns():
    scores = scores_of(EFFECTS, seeds=5)
    found = found_in(confirmed_runs(scores, mode="min"))
    assert found.judgement == judge(scores, race_plan(), sign=-1, metric="val/miou")
    assert found.judgement.leader != TOP


def test_a_run_that_was_cut_off_has_no_score_and_is_wanted_again():
    scores = scores_of(EFFECTS, seeds=3)
    runs = confirmed_runs(without(scores, (TOP, 2)))
    found = found_in([*runs, confirm_run(90, TOP, 2, 99.0, state="interrupted")])
    assert found.arm(TOP).scores.keys() == {0, 1}
    assert found.arm(TOP).unfinished == 1
    assert found.judgement.wanted == ((TOP, 2),)


def test_a_failed_run_is_told_to_the_race_as_failed_and_named(section_of):
    runs = confirmed_runs(without(scores_of(EFFECTS, seeds=3), (TOP, 1)))
    runs.append(confirm_run(90, TOP, 1, 99.0, state="failed"))
    found = found_in(runs)
    assert (TOP, 1) not in found.judgement.wanted
    assert found.arm(TOP).failed == (1,)
    assert "top 1: 1 of 3 runs was lost (1 failed; 1 to 91 % may)" in " ".join(section_of(found_tables(runs)).notes)


def test_the_means_have_the_t_interval_of_their_seeds():
    values = {0: 70.0, 1: 71.5, 2: 69.0, 3: 72.0}
    low, high = stats.ttest_1samp(list(values.values()), 0).confidence_interval(0.95)
    mean = mean_of(values)
    assert (mean.value, mean.low, mean.high) == pytest.approx((np.mean(list(values.values())), low, high))
    assert math.isinf(mean_of({0: 70.0}).high)
    assert mean_of({}) is None


def test_the_official_validation_set_is_reported_and_chooses_nothing(section_of):
    scores = scores_of(EFFECTS, seeds=5)
    runs = confirmed_runs(scores)
    for run in runs:  # where it would turn the order
        if run.config["confirm"]["arm"] == TOP:
            run.history[4]["final/last/miou"] = 1.0
    found = found_in(runs)
    assert found.judgement.leader == TOP
    assert found.arm(TOP).official_mean.value == 1.0
    assert "top 1 1.00 (1.00 to 1.00), 5 seeds" in " ".join(section_of(found_tables(runs)).notes)


def test_statistics_of_the_search_do_not_see_the_confirmation():
    alone, both = build_tables(searched()), found_tables(confirmed_runs(scores_of(EFFECTS, seeds=4)))
    assert from_tables(both) == from_tables(alone)


def test_statistics_of_the_confirmation_do_not_see_the_search():
    runs = confirmed_runs(scores_of(EFFECTS, seeds=4))
    study = from_tables(found_tables(runs), phase="confirm")
    assert {trial.run_id for trial in study.trials} == {run.run_id for run in runs}


def test_the_tables_say_phase_arm_and_seed_and_survive_parquet(tmp_path):
    tables = found_tables(confirmed_runs(scores_of(EFFECTS, seeds=3)))
    save(tables, tmp_path)
    again = load(tmp_path)
    rows = again.runs.to_pylist()
    assert {row["phase"] for row in rows} == {"search", "confirm"}
    assert {(row["arm"], row["arm_seed"]) for row in rows if row["phase"] == "confirm"} == {
        (arm, seed) for arm in ARMS for seed in range(3)
    }
    assert {row["arm"] for row in rows if row["phase"] == "search"} == {None}
    assert {row["wandb_path"] for row in rows} == {f"e/p/{row['run_id']}" for row in rows}
    assert confirmed(again) == confirmed(tables)


def test_without_a_confirmation_there_is_no_section_and_the_answer_stays(undrawn):
    tables = build_tables(searched())
    assert confirmation_sections(confirmed(tables), undrawn) == []
    assert confirmed_headline(confirmed(tables)) is None


def test_every_verdict_stands_in_the_sections_table_and_nowhere_else_in_it(section_of):
    tables = found_tables(confirmed_runs(scores_of(EFFECTS, seeds=8)))
    found, section = confirmed(tables), section_of(tables)
    assert not any(one.finding in f"{section.reading} {' '.join(section.notes)}" for one in found.judgement.verdicts)
    assert [row[0] for row in section.table[1:]] == [one.finding for one in found.judgement.verdicts]


def test_the_first_screen_names_the_confirmed_arm_with_its_seeds():
    tables = found_tables(confirmed_runs(scores_of(EFFECTS, seeds=8, noise=0.1)))
    said = answer(from_tables(tables), tables, confirmed=confirmed_headline(confirmed(tables)))
    assert said.headline.startswith("top 1 beats the defaults by ")
    assert "8 paired seeds" in said.headline
    assert said.shown == "top 1, confirmed"
    assert said.trust.startswith("top 1 leads: mean val/miou ")
    assert "8 seeds" in said.trust
    assert (said.best.run_id, said.provisional) == ("s-t0001", False)


def test_a_confirmed_arm_that_the_search_never_ran_is_shown_with_its_own_config():
    effects = {TOP: 0.0, DEFAULTS: -3.0, BARE: 3.0}
    tables = found_tables(confirmed_runs(scores_of(effects, seeds=8, noise=0.1)))
    said = answer(from_tables(tables), tables, confirmed=confirmed_headline(confirmed(tables)))
    assert said.headline.startswith(f"{BARE} beats the defaults by ")
    assert said.shown == f"{BARE}, confirmed"
    assert dict(said.config) == {"interpixel.alpha": "0"}


def test_an_arm_that_was_taken_because_it_is_simpler_is_not_said_to_lead():
    scores = scores_of({TOP: 0.12, DEFAULTS: 0.05, BARE: 0.0}, seeds=8, noise=0.03)
    found = confirmed_headline(found_in(confirmed_runs(scores, prefer="simplest")))
    assert found.shown == f"{BARE}, confirmed"
    assert found.trust.startswith(f"{BARE} is the simplest that is equivalent to {TOP}, which leads: mean val/miou ")


def test_what_is_undecided_is_not_called_confirmed():
    tables = found_tables(confirmed_runs(scores_of(dict.fromkeys(EFFECTS, 0.0), seeds=3, noise=1.0)))
    said = answer(from_tables(tables), tables, confirmed=confirmed_headline(confirmed(tables)))
    assert said.headline.startswith("Nothing tried is shown to beat the defaults")
    assert said.shown.endswith(", not confirmed")


def test_the_figure_draws_every_score_and_every_interval():
    found = found_in(confirmed_runs(scores_of(EFFECTS, seeds=6)))
    above, below = figure.draw(found, style.LIGHT).axes
    dots = sorted(tuple(point) for drawn in above.collections for point in drawn.get_offsets())
    rows = {arm.name: len(found.arms) - 1 - i for i, arm in enumerate(found.arms)}
    assert dots == sorted((score, rows[arm.name]) for arm in found.arms for score in arm.scores.values())
    drawn = {(line.get_xdata()[0], line.get_xdata()[-1]) for line in below.lines}
    assert {(one.low, one.high) for one in found.judgement.verdicts} <= drawn


def test_before_the_first_look_the_figure_says_so():
    found = found_in(confirmed_runs(scores_of(EFFECTS, seeds=2)))
    _, below = figure.draw(found, style.LIGHT).axes
    assert [text.get_text() for text in below.texts] == ["no interval yet"] * 3


def test_the_cost_of_a_confirmation_stands_beside_that_of_the_search():
    tables = found_tables(confirmed_runs(scores_of(EFFECTS, seeds=3)))
    said = answer(from_tables(tables), tables, confirmed=confirmed_headline(confirmed(tables)))
    assert said.cost.startswith("Search: 3 trials")
    assert "Confirmation: 9 runs of 4 epochs, 3 seeds a configuration" in said.cost


def test_failed_and_unfinished_runs_are_in_the_cost_too():
    scores = scores_of(EFFECTS, seeds=3)
    more = [confirm_run(50 + i, TOP, 3 + i, 1.0, state=state) for i, state in enumerate(("failed", "interrupted"))]
    runs = [*confirmed_runs(scores), *more]
    for one in runs:
        one.runtime_s = 60.0
    assert "11.0 trial minutes" in confirmed_headline(found_in(runs)).cost


def test_an_arm_is_held_against_itself_with_a_part_switched_off_else_against_the_defaults():
    found = found_in(confirmed_runs(scores_of(EFFECTS, seeds=3)))
    assert [found.rival(arm) for arm in (TOP, DEFAULTS, BARE)] == [BARE, BARE, DEFAULTS]


def test_arms_that_differ_in_one_parameter_are_a_pair_in_the_scores_own_direction():
    scores = scores_of(EFFECTS, seeds=6)
    for mode, sign in (("max", 1), ("min", -1)):
        found = found_in(confirmed_runs(scores, mode=mode))
        pairs = confirmed_pairs(found)
        assert [(one.first, one.second) for one in pairs] == [(2.0, 0.5), (2.0, 0.0), (0.5, 0.0)]
        for one, verdict in zip(pairs, found.judgement.verdicts, strict=True):
            assert one.difference == pytest.approx(sign * verdict.effect)
            assert one.interval == pytest.approx(tuple(sorted((sign * verdict.low, sign * verdict.high))))
            assert one.source == f"{verdict.pairs} paired seeds"


def test_arms_that_differ_in_more_than_one_parameter_are_no_pair():
    runs = confirmed_runs(scores_of(EFFECTS, seeds=4))
    for run in runs:
        run.config["search"]["interpixel.tau"] = 0.5 + (run.config["confirm"]["arm"] == TOP)
    pairs = confirmed_pairs(found_in(runs))
    assert [(one.first, one.second) for one in pairs] == [(0.5, 0.0)]


def test_seeds_and_classes_are_read_from_the_confirming_runs(undrawn):
    tables = found_tables(confirmed_runs(scores_of(EFFECTS, seeds=5)))
    study, found = from_tables(tables), confirmed(tables)
    sections = {one.title: one for one in surrogate_sections(study, tables, undrawn, None, found)}
    assert "n = 15 runs of 3 configurations" in sections["How far do seeds differ?"].reading
    assert f"{TOP}: 5 seeds" in sections["How do seeds spread on the way?"].reading


def test_before_the_second_seed_of_a_confirmation_seeds_are_read_from_the_search(undrawn):
    again = logged("t0003", 3, phase="search", score=74.0, alpha=2.0, seed=9)
    tables = build_tables([*searched(), again, *confirmed_runs(scores_of(EFFECTS, seeds=1))])
    study, found = from_tables(tables), confirmed(tables)
    sections = {one.title: one for one in surrogate_sections(study, tables, undrawn, None, found)}
    assert "n = 2 runs of 1 configuration)" in sections["How far do seeds differ?"].reading


def test_classes_of_the_leading_arm_are_compared_with_the_same_without_the_loss(undrawn):
    runs = [*searched(), *confirmed_runs(scores_of(EFFECTS, seeds=5))]
    for run in runs:
        run.config["classes"] = ["background", "cat"]
        run.history[max(run.history)] |= {"val/iou/0": 70.0 + len(run.history), "val/iou/1": 50.0}
    tables = build_tables(runs)
    study, found = from_tables(tables), confirmed(tables)
    sections = {one.title: one for one in surrogate_sections(study, tables, undrawn, None, found)}
    assert f"IoU of {TOP} minus {BARE}, paired over 5 seeds" in sections["Which classes gain, and which lose?"].reading


def test_under_the_question_kl_or_cr_the_confirmed_pair_is_named_and_its_verdict_is_not_told_again():
    pair = ExternalPair(
        name="interpixel.distance",
        first="cr",
        second="kl",
        difference=0.15,
        interval=(-5.85, 6.14),
        source="5 paired seeds",
        published=False,
    )
    said = say_pair(pair)
    assert "compared interpixel.distance cr with kl at equal others (5 paired seeds)" in said
    assert "0.15" not in said
    assert "6.14" not in said


def test_the_tables_for_a_paper_have_every_arm_and_every_verdict(tmp_path):
    found = found_in(confirmed_runs(scores_of(EFFECTS, seeds=5)))
    write_confirmed(found, tmp_path)
    with (tmp_path / "tables" / "confirmation.csv").open(newline="") as file:
        arms = list(csv.DictReader(file))
    with (tmp_path / "tables" / "verdicts.csv").open(newline="") as file:
        verdicts = list(csv.DictReader(file))
    assert [(row["configuration"], row["seeds"], row["epochs"]) for row in arms] == [
        (arm.name, "5", "4") for arm in found.arms
    ]
    for row, arm in zip(arms, found.arms, strict=True):
        low, high = stats.t.interval(1 - 0.05 / 3, 4, loc=arm.mean.value, scale=stats.sem(list(arm.scores.values())))
        assert (float(row["low95"]), float(row["high95"])) == pytest.approx((low, high))
    assert [row["words"] for row in verdicts] == [one.words for one in found.judgement.verdicts]
    text = (tmp_path / "tables" / "confirmation.tex").read_text()
    assert text.count("\\begin{table}") == text.count("\\end{table}") == 2
    assert "interpixel.alpha=0" in text


def written(found, folder):
    write_confirmed(found, folder)
    rows = {}
    for name in ("confirmation", "verdicts"):
        with (folder / "tables" / f"{name}.csv").open(newline="") as file:
            rows[name] = list(csv.DictReader(file))
    return rows, (folder / "tables" / "confirmation.tex").read_text()


def test_the_captions_for_a_paper_begin_with_the_outcome(tmp_path):
    undecided = found_in(confirmed_runs(scores_of(dict.fromkeys(EFFECTS, 0.0), seeds=3, noise=1.0)))
    _, text = written(undecided, tmp_path)
    assert text.startswith("% NOT CONFIRMED: ")
    assert text.count("\\caption{NOT CONFIRMED: ") == 2
    clear = found_in(confirmed_runs(scores_of({TOP: 3.0, DEFAULTS: 1.0, BARE: -1.0}, seeds=8, noise=0.1)))
    assert written(clear, tmp_path)[1].count("\\caption{CONFIRMED: top 1.") == 2


def test_lost_runs_stand_in_every_table_for_a_paper(tmp_path):
    scores = scores_of({TOP: 3.0, DEFAULTS: 1.0, BARE: -1.0}, seeds=8, noise=0.1)
    scores[TOP][2] -= 9
    runs = [*confirmed_runs(without(scores, (TOP, 5))), confirm_run(90, TOP, 5, 99.0, state="failed")]
    found = found_in(runs)
    rows, text = written(found, tmp_path)
    top = next(row for row in rows["confirmation"] if row["configuration"] == TOP)
    assert (top["runs"], top["collapsed"], top["failed"]) == ("8", "1", "1")
    assert (float(top["lost low95"]), float(top["lost high95"])) == pytest.approx(found.arm(TOP).lost.interval)
    assert top["said"].startswith("CONFIRMED for runs that do not collapse or fail; 2 of 8 runs were lost")
    assert "2 of 8" in text
    assert all(row["P(better in a new run)"] for row in rows["verdicts"])


def test_the_intervals_of_means_hold_together_over_the_arms_and_leave_out_collapsed_runs():
    scores = scores_of(EFFECTS, seeds=8, noise=0.1)
    scores[TOP][2] -= 9
    arm = found_in(confirmed_runs(scores)).arm(TOP)
    values = [one for seed, one in scores[TOP].items() if seed != 2]
    low, high = stats.t.interval(1 - 0.05 / 3, 6, loc=np.mean(values), scale=stats.sem(values))
    assert (arm.mean.seeds, arm.mean.low, arm.mean.high) == (7, pytest.approx(low), pytest.approx(high))


def test_the_report_reads_the_longest_plan_that_a_run_knows():
    scores = scores_of(EFFECTS, seeds=5)
    runs = confirmed_runs(scores)
    runs[0].config["confirm"] = copy.deepcopy(runs[0].config["confirm"])
    runs[0].config["confirm"]["plan"]["extensions"] = [25]
    assert found_in(runs).plan.extensions == (25,)


@pytest.mark.parametrize(
    ("metric", "data", "said"),
    [
        ("val/miou", {"holdout": {"images": 9, "source": "unlabelled"}}, "on the held-out images of the search"),
        ("val/miou", {"holdout": None, "name": "voc"}, "on the official validation set, on which"),
        ("val/miou", {"holdout": None, "name": "folder"}, "on the validation list, on which"),
        (
            "val/miou",
            {"holdout": {"images": 9, "source": "labelled"}, "draw": {"labelled": 12, "seed": 0}},
            "held out of each seed's own labelled draw",
        ),
        ("train/loss", {"holdout": {"images": 9, "source": "unlabelled"}}, "Scores are train/loss, by which"),
    ],
)
def test_the_headline_says_what_this_study_was_scored_on(metric, data, said):
    runs = confirmed_runs(scores_of(EFFECTS, seeds=8))
    for run in [*runs, *searched()]:
        run.config["trainer"]["data"] = data
    found = dataclasses.replace(found_in(runs), metric=metric)
    rule = confirmed_headline(found).rule
    assert said in rule
    assert ("held-out images" in rule) == (said == "on the held-out images of the search")


def test_one_comparison_has_one_interval_and_several_hold_together():
    found = found_in(confirmed_runs(scores_of(EFFECTS, seeds=3)))
    alone = replace(found, plan=replace(found.plan, comparisons=found.plan.comparisons[:1], kept=frozenset()))
    assert "confidence intervals hold simultaneously, at every look" in notes_on(found)[0]
    assert "With probability 95% the interval holds, at every look" in notes_on(alone)[0]
