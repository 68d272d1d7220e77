from pathlib import Path

import pytest

from ipix_tune.study import export
from ipix_tune.study.export import ExportError, export_best, trial_key
from tests.ipix_tune.studies import base, config_of, row, study_with, tables_of
from trainers.common.yaml_file import load, read
from trainers.config import TrainConfig


def choose(rows, **more):
    return export.choose(tables_of(rows), **more)


def test_the_best_complete_trial_is_chosen():
    choice = choose([row(0, 30.0, lr=0.1), row(1, 40.0, lr=0.2), row(2, 35.0, lr=0.3)])
    assert (choice.row["trial"], choice.candidates) == (1, 3)


def test_a_stopped_trial_is_not_chosen_however_well_it_scored():
    assert choose([row(0, 30.0), row(1, 90.0, state="stopped", epochs=3)]).row["trial"] == 0


def test_the_lowest_objective_is_the_best_where_less_is_better():
    rows = [row(0, 30.0) | {"mode": "min"}, row(1, 20.0, lr=0.2) | {"mode": "min"}]
    assert choose(rows).row["trial"] == 1


def test_the_mean_over_seeds_decides_and_not_the_luckiest_seed():
    rows = [
        row(0, 45.0, lr=0.1) | {"param.seed": 0},
        row(1, 30.0, lr=0.1, seed=1) | {"param.seed": 1},
        row(2, 41.0, lr=0.2) | {"param.seed": 0},
        row(3, 40.0, lr=0.2, seed=1) | {"param.seed": 1},
    ]
    choice = choose(rows)
    assert (choice.row["trial"], choice.seeds, choice.candidates, choice.score) == (2, 2, 2, 40.5)


def test_of_equal_trials_the_earliest_is_chosen():
    assert choose([row(2, 40.0), row(1, 40.0, lr=0.2)]).row["trial"] == 1


def test_a_trial_without_a_number_for_a_score_is_not_chosen():
    assert choose([row(0, float("nan")), row(1, None), row(2, 10.0)]).row["trial"] == 2


def test_where_no_trial_is_complete_the_best_of_the_longest_is_chosen_and_said_loudly():
    rows = [
        row(0, 60.0, state="stopped", epochs=1),
        row(1, 30.0, state="interrupted", epochs=3, lr=0.2),
        row(2, 40.0, state="stopped", epochs=3, lr=0.3),
    ]
    choice = choose(rows)
    assert choice.row["trial"] == 2
    assert "NO TRIAL RAN ALL ITS EPOCHS" in choice.rule
    assert any("3 of 9 epochs" in caveat for caveat in choice.caveats)


@pytest.mark.parametrize("name", ["1", "t0001", "small-t0001"])
def test_a_trial_can_be_named_by_number_key_or_run_id(name):
    assert choose([row(0, 50.0), row(1, 40.0)], trial=name).row["trial"] == 1


def test_a_trial_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(ExportError, match=r"no trial 7.*t0000, t0001"):
        choose([row(0, 50.0), row(1, 40.0)], trial="7")


def test_a_study_without_a_score_cannot_be_exported():
    with pytest.raises(ExportError, match="none of the 1 runs has a score"):
        choose([row(0, None, state="failed")])


def test_seeds_are_counted_over_complete_runs_of_the_same_configuration():
    rows = [
        row(0, 50.0, seed=0),
        row(1, 40.0, seed=1),
        row(2, 41.0, seed=2, lr=0.5),
        row(3, 1.0, seed=3, state="failed"),
    ]
    assert choose(rows).seeds == 2


def test_the_key_of_a_trial_is_what_follows_the_studys_name():
    assert trial_key(row(3, 1.0)) == "t0003"


def test_the_exported_file_is_the_trials_config_and_says_where_it_came_from(tmp_path):
    config = config_of(optim={"lr": 0.02})
    out = tmp_path / "best.yaml"
    export_best(study_with(tmp_path, [row(4, 41.5, config=config)]), out, final=False)
    loaded = load(out, TrainConfig)
    assert loaded.model_copy(update={"provenance": None}) == config
    wanted = {
        "study": "small", "trial": "t0004", "phase": "search", "candidates": 1, "seeds": 1, "max_epochs": 9,
        "objective": {"metric": "val/miou", "mode": "max", "value": 41.5}, "split_hash": "abc",
        "git_commit": "def", "versions": {"torch": "2.15.0"}, "wandb_run": "small-t0004",
    }  # fmt: skip
    assert wanted.items() <= loaded.provenance.items()


def test_the_first_line_says_that_one_seed_is_provisional(tmp_path):
    out = tmp_path / "best.yaml"
    export_best(study_with(tmp_path, [row(0, 41.5)]), out)
    assert out.read_text().startswith("# PROVISIONAL: 1 seed, not confirmed; val/miou 41.50 after 9 of 9 epochs\n")


def test_two_seeds_are_not_called_provisional_and_their_mean_is_told(tmp_path):
    out = tmp_path / "best.yaml"
    export_best(study_with(tmp_path, [row(0, 41.5), row(1, 40.0, seed=1)]), out)
    assert out.read_text().startswith("# 2 seeds; not confirmed; val/miou 40.75 (mean over 2 seeds) after 9 of 9")
    assert load(out, TrainConfig).provenance["objective"]["value"] == 40.75


def test_where_only_failed_trials_have_a_score_none_is_chosen_and_the_remedy_is_named():
    with pytest.raises(ExportError, match=r"only t0000 have a score.*--trial"):
        choose([row(0, 40.0, state="failed"), row(1, None, state="failed")])


def test_a_failed_trial_can_be_exported_by_name():
    rows = [row(0, 40.0, state="failed", epochs=3), row(1, 30.0)]
    choice = choose(rows, trial="t0000")
    assert (choice.score, choice.epoch, choice.seeds) == (40.0, 3, 1)


def test_the_final_training_evaluates_the_validation_set_where_there_is_one(tmp_path):
    out = tmp_path / "best.yaml"
    export_best(study_with(tmp_path, [row(0, 41.5)]), out)
    assert load(out, TrainConfig).evaluation.final is True


def voc(**data):
    trainer = base()["trainer"]
    trainer["data"] |= {"name": "voc", "root": "voc", "labelled": "l.txt", "unlabelled": "u.txt"} | data
    return TrainConfig.model_validate(trainer)


def test_without_a_validation_set_the_export_says_so_and_stays_not_final(tmp_path):
    out = tmp_path / "best.yaml"
    export_best(study_with(tmp_path, [row(0, 41.5, config=voc())]), out)
    assert load(out, TrainConfig).evaluation.final is False
    assert "data.val is not given" in out.read_text()


def test_the_held_out_images_stay_held_out_so_that_the_curve_can_be_compared(tmp_path):
    out = tmp_path / "best.yaml"
    export_best(study_with(tmp_path, [row(0, 41.5)]), out)
    assert read(out)[0]["data"]["holdout"]["images"] == 8


def test_an_existing_file_is_not_overwritten(tmp_path):
    out = tmp_path / "best.yaml"
    out.write_text("mine")
    with pytest.raises(ExportError, match="--force"):
        export_best(study_with(tmp_path, [row(0, 41.5)]), out)
    assert out.read_text() == "mine"


def test_an_existing_file_is_overwritten_by_force(tmp_path):
    out = tmp_path / "best.yaml"
    out.write_text("mine")
    export_best(study_with(tmp_path, [row(0, 41.5)]), out, force=True)
    assert load(out, TrainConfig).provenance["study"] == "small"


def test_a_study_that_is_not_there_is_refused_with_the_nearest_that_is(tmp_path):
    study = study_with(tmp_path, [row(0, 1.0)])
    (study / "study.yaml").write_text("")
    with pytest.raises(ExportError, match=r'did you mean ".*small"'):
        export_best(Path(str(study) + "l"), tmp_path / "best.yaml")


def test_the_export_asks_for_what_the_study_asks_and_not_for_what_its_machine_granted(tmp_path):
    place = study_with(tmp_path, [row(0, 70.0, config=config_of(precision={"device": "cpu"}))])
    export_best(place, tmp_path / "best.yaml")
    exported = load(tmp_path / "best.yaml", TrainConfig)
    assert (exported.precision.device, exported.data.loader_workers) == ("auto", "auto")
