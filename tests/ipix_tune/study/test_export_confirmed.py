"""What is exported of a confirmed study, and what the file says about it."""

import json

import pytest

from analysis.columns import key_of
from analysis.ingest.tables import build_tables, save
from ipix_tune.study.export import export_best
from tests.analysis.confirmations import BARE, TOP, confirmed_runs, scores_of, searched
from tests.ipix_tune.studies import config_of
from trainers.common.yaml_file import load
from trainers.config import TrainConfig


def study(folder, scores, **more):
    place = folder / "s"
    runs = [*searched(), *confirmed_runs(scores, **more)]
    for run in runs:
        alpha = run.config["search"]["interpixel.alpha"]
        run.config["trainer"] = json.loads(config_of(interpixel={"alpha": alpha}).model_dump_json())
        run.config["origin"] = {"split_hash": "abc", "git_commit": "def"}
    save(build_tables(runs), place)
    return place


CLEAR = scores_of({TOP: 3.0, "defaults": 0.5, BARE: 0.0}, seeds=8, noise=0.1)
LEVEL = scores_of({TOP: 0.12, "defaults": 0.05, BARE: 0.0}, seeds=8, noise=0.03)
NOISY = scores_of({TOP: 0.5, "defaults": 0.2, BARE: 0.0}, seeds=3, noise=1.5)


def exported(folder, scores, **more):
    out = folder / "best.yaml"
    choice = export_best(study(folder, scores, **more), out)
    return choice, out.read_text(), load(out, TrainConfig)


def test_the_confirmed_winner_is_exported_with_its_verdicts(tmp_path):
    choice, text, config = exported(tmp_path, CLEAR)
    assert text.startswith(
        f"# CONFIRMED: top 1; val/miou {sum(CLEAR[TOP].values()) / 8:.2f}, mean over 8 seeds of typical runs\n"
    )
    assert config.interpixel.alpha == 2.0
    found = config.provenance["confirmation"]
    assert found["confirmed"] is True
    assert [(one["arm"], one["other"], one["verdict"]) for one in found["verdicts"]] == [
        (TOP, "defaults", "better"),
        (TOP, BARE, "better"),
    ]
    assert all(one["interval"][0] < one["effect"] < one["interval"][1] for one in found["verdicts"])
    assert choice.row["trial"] == 1


def test_the_file_carries_the_runs_with_seeds_splits_commits_and_addresses(tmp_path):
    _, _, config = exported(tmp_path, CLEAR)
    runs = config.provenance["confirmation"]["runs"]
    assert len(runs) == 8
    assert runs[0] == {
        "wandb_run": "s-c0000",
        "wandb_path": "e/p/s-c0000",
        "seed": 0,
        "score": round(CLEAR[TOP][0], 4),
        "split_hash": "abc",
        "git_commit": "def",
    }
    assert config.provenance["confirmation"]["budget"] == {"runs": 24, "epochs_each": 4}
    assert config.provenance["seeds"] == 8


def test_where_the_file_asks_for_it_the_simplest_equivalent_one_is_exported(tmp_path):
    choice, text, config = exported(tmp_path, LEVEL, prefer="simplest")
    assert config.interpixel.alpha == 0
    assert f"{BARE} is the simplest that is equivalent to it" in text
    assert choice.confirmed[0].name == BARE


def test_without_that_the_winner_is_exported_though_a_simpler_one_is_equivalent(tmp_path):
    _, _, config = exported(tmp_path, LEVEL)
    assert config.interpixel.alpha == 2.0


def test_what_is_not_confirmed_says_so_in_its_first_line(tmp_path):
    _, text, config = exported(tmp_path, NOISY)
    assert text.startswith("# NOT CONFIRMED: ")
    assert text.splitlines()[0].endswith("; the confirmation is not over")
    assert config.provenance["confirmation"]["confirmed"] is False


def test_before_the_first_look_the_searchs_best_is_exported_as_provisional(tmp_path):
    choice, text, _ = exported(tmp_path, {arm: {0: 70.0} for arm in CLEAR})
    assert text.startswith("# PROVISIONAL: 1 seed, not confirmed")
    assert "its confirmation has not come to a first look" in choice.caveats


def test_a_named_trial_is_exported_whatever_was_confirmed(tmp_path):
    out = tmp_path / "named.yaml"
    export_best(study(tmp_path, CLEAR), out, trial="t0000")
    assert load(out, TrainConfig).provenance["trial"] == "t0000"


@pytest.mark.parametrize("scores", [CLEAR, LEVEL, NOISY])
def test_the_export_and_the_report_name_the_same_arm(tmp_path, scores):
    from analysis.ingest.tables import load as load_tables
    from analysis.sections.confirmation import confirmed_headline
    from analysis.stats.confirm.results import confirmed

    choice, _, _ = exported(tmp_path, scores)
    said = confirmed_headline(confirmed(load_tables(tmp_path / "s")))
    assert said.shown.startswith(f"{choice.confirmed[0].name}, ")
    assert said.key == key_of(choice.row["run_id"])
