"""Several studies side by side: what is pooled, what is kept apart, and what is said."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from analysis.compare import app as compare_app
from analysis.errors import LogsError
from analysis.ingest.tables import build_tables, save
from analysis.page.compare import PAGE, compare
from analysis.report import app as report_app
from analysis.stats.across_studies import contrasts, entered, not_comparable, pooled
from tests.analysis.confirmations import ARMS, BARE, DEFAULTS, TOP, confirmed_runs, scores_of, searched

EFFECTS = {TOP: 2.0, DEFAULTS: 0.0, BARE: -1.0}


def tables(*, seed=0, gain=2.0, arms=ARMS, mode="max"):
    scores = scores_of({**EFFECTS, TOP: gain}, seeds=4, seed=seed)
    runs = [*searched(), *confirmed_runs(scores, arms=arms, mode=mode)]
    for run in runs:
        run.run_id = f"{seed}-{run.run_id}"
    return build_tables(runs)


def studies(*gains, **more):
    return [entered(f"s{number}", tables(seed=number, gain=gain, **more)) for number, gain in enumerate(gains)]


def of(found, first, second):
    return next(one for one in found if (one.first, one.second) == (first, second))


@pytest.mark.parametrize("count", [2, 3, 8])
def test_the_interval_over_studies_is_students_t_over_their_effects(count):
    effects = np.random.default_rng(count).normal(1, 2, count)
    found, reference = pooled(effects, delta=0.3), stats.ttest_1samp(effects, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high))
    assert (found.mean, found.better) == (pytest.approx(effects.mean()), (effects > 0).sum())


def test_a_contrast_that_several_studies_confirmed_has_one_answer_from_their_own_verdicts():
    entries = studies(2.0, 3.0, 2.5)
    found = of(contrasts(entries), TOP, DEFAULTS)
    own = [one.confirmed.judgement.verdicts[0].effect for one in entries]
    assert [one.effect for one in found.effects] == own
    assert found.pooled.mean == pytest.approx(np.mean(own))
    assert found.pooled.kind == "better"


def test_a_gain_is_above_0_where_less_is_better_too():
    found = of(contrasts(studies(-2.0, -3.0, mode="min")), TOP, DEFAULTS)
    assert found.pooled.mean > 0


def test_names_that_stand_for_other_keys_in_another_study_are_left_out_and_said():
    other = {**ARMS, BARE: {**ARMS[BARE], "changes": {"interpixel.alpha": 0.01}}}
    entries = [*studies(2.0, 3.0), entered("other", tables(arms=other))]
    found = of(contrasts(entries), BARE, DEFAULTS)
    assert [one.label for one in found.effects] == ["s0", "s1"]
    assert found.notes == ("left out, since these names stand for other keys there: other",)


def test_the_studies_that_agree_on_what_names_stand_for_are_pooled_whichever_is_named_first():
    other = {**ARMS, BARE: {**ARMS[BARE], "changes": {"interpixel.alpha": 0.01}}}
    entries = [entered("other", tables(arms=other)), *(entered(f"s{n}", tables(seed=n)) for n in (1, 2))]
    found = of(contrasts(entries), BARE, DEFAULTS)
    assert [one.label for one in found.effects] == ["s1", "s2"]
    assert found.notes == ("left out, since these names stand for other keys there: other",)


def test_a_configuration_that_breaks_a_constraint_of_a_study_is_named_beside_its_contrast():
    first, second = studies(2.0, 3.0)
    arms = [dataclasses.replace(arm, breaks="too large" * (arm.name == TOP)) for arm in first.confirmed.arms]
    broke = dataclasses.replace(first, confirmed=dataclasses.replace(first.confirmed, arms=tuple(arms)))
    found = of(contrasts([broke, second]), TOP, DEFAULTS)
    assert found.notes == ("top 1 breaks a constraint of s0, and could not be chosen there: too large",)


def test_effects_that_do_not_differ_say_nothing_of_how_far_studies_differ():
    found = pooled([1.5, 1.5], delta=0.3)
    assert (found.low, found.high, found.kind) == (-np.inf, np.inf, "undecided")


def test_a_copy_of_a_study_is_no_second_study(folders, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folders[0], copy)
    with pytest.raises(LogsError, match="s0 and copy hold the same runs: one is a copy"):
        compare([folders[0], copy], out=tmp_path / "out")


def test_one_study_alone_pools_nothing():
    assert contrasts(studies(2.0)) == []


def test_what_may_not_be_compared_is_named_with_what_each_study_has():
    first, second = studies(2.0, 3.0)
    changes = {"metric": "val/dice", "max_epochs": 9, "split_hash": "0123456789abcdef"}
    other = dataclasses.replace(second, study=dataclasses.replace(second.study, **changes))
    assert not_comparable([first, other]) == [
        "scores by different metrics have no common scale: s0 max val/miou, s1 max val/dice",
        "scores on different splits differ by the images too: s0 unknown, s1 0123456789ab",
        "scores after a different number of epochs differ by the training too: s0 4 epochs, s1 9 epochs",
    ]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("studies")
    for number, gain in enumerate((2.0, 3.0)):
        save(tables(seed=number, gain=gain), root / f"s{number}")
    return [root / "s0", root / "s1"]


def test_the_command_prints_every_section_and_makes_the_page_with_the_answer_over_all(folders, tmp_path):
    found = CliRunner().invoke(compare_app, [*map(str, folders), "--out", str(tmp_path)])
    assert found.exit_code == 0
    page = tmp_path / PAGE
    text = page.read_text()
    first, second = "Where does each study stand?", "How did the searches go, by val/miou?"
    assert 0 <= found.output.index(first) < found.output.index(second) < found.output.index(f"comparison: {page}")
    assert f">{first}<" in text
    assert f">{second}<" in text
    assert "Over 2 studies top 1 is better than defaults" in text or "top 1 against defaults is undecided" in text
    rows = (tmp_path / "tables" / "contrasts.csv").read_text().splitlines()
    assert rows[3].startswith("top 1,defaults,val/miou,all,")
    assert json.dumps(rows[0]).count(",") == 9


@pytest.mark.parametrize("app", [compare_app, report_app])
def test_a_study_that_is_named_twice_is_refused_without_a_traceback(app, folders):
    found = CliRunner().invoke(app, [str(folders[0]), str(folders[0])])
    assert found.exit_code == 2
    assert "name two different studies or more" in found.output
