"""What a final recipe trains, what it expects, and how its runs come out beside that."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from analysis.ingest.tables import build_tables, save
from ipix_tune.cli.export import app
from ipix_tune.cli.train import app as train_app
from ipix_tune.study.export import ExportError, export_best
from ipix_tune.trainer.exported import RecipeError
from ipix_tune.trainer.own.final_recipe import _range, compared
from tests.analysis.confirmations import BARE, DEFAULTS, TOP, confirm_run, confirmed_runs, scores_of, searched
from tests.ipix_tune.studies import base, config_of
from tests.trainers.runs import rows, tiny
from trainers.common.yaml_file import load
from trainers.config import TrainConfig
from trainers.loop.seeds import SeedRun

CLEAR = scores_of({TOP: 3.0, DEFAULTS: 0.5, BARE: 0.0}, seeds=8, noise=0.4)


def study(folder, runs, config=None):
    """A confirmed study of this training config; the official scores are 2 below those on held-out images."""
    config = config or config_of()
    for run in runs:
        own = json.loads(config.model_dump_json()) | {"seed": run.config["trainer"]["seed"]}
        if own["data"]["draw"]:
            own["data"]["draw"]["seed"] = run.config["trainer"]["seed"]
        run.config["trainer"] = own
        run.config["origin"] = {"split_hash": "abc", "git_commit": "def"}
    save(build_tables(runs), folder / "s")
    return folder / "s"


def confirmed(**more):
    return [*searched(), *confirmed_runs(CLEAR, **more)]


def exported(folder, runs=None, config=None, **options):
    out = folder / "best.yaml"
    choice = export_best(study(folder, confirmed() if runs is None else runs, config), out, **options)
    return choice, out.read_text(), load(out, TrainConfig)


def data(**more):
    trainer = base()["trainer"]
    trainer["data"] |= more
    return TrainConfig.model_validate(trainer)


LABELLED = {"holdout": {"images": 8, "source": "labelled"}}


def test_after_a_confirmation_seeds_are_fresh_and_as_many_as_are_asked_for(tmp_path):
    _, text, config = exported(tmp_path, seeds=4)
    assert config.seed == 9  # the confirmation used 1 to 8
    assert config.provenance["final"]["seeds"] == [9, 10, 11, 12]
    assert "# FINAL RECIPE: seeds 9, 10, 11, 12, used neither in the search nor in its confirmation" in text
    assert f"# train it: ipix-tune train {tmp_path / 'best.yaml'} --seeds 4" in text
    assert config.evaluation.final


def test_a_searched_seed_of_the_weights_is_not_held_fixed_in_the_final_training(tmp_path):
    runs = searched()
    for run in runs:
        run.config["search"]["seeds.init"] = 20
    trainer = base()["trainer"] | {"seeds": {"init": 20, "order": 4}}
    _, _, config = exported(tmp_path, runs, TrainConfig.model_validate(trainer), final=True)
    assert config.seed > 20
    assert config.seeds.init is None
    assert config.seeds.order == 4  # given by the study, not searched


def test_where_the_labelled_images_are_drawn_they_are_drawn_anew(tmp_path):
    drawn = data(draw={"labelled": 12, "seed": 0}, **LABELLED)
    _, text, config = exported(tmp_path, config=drawn)
    assert config.data.draw.seed == 9
    assert "the labelled images are drawn anew for each" in text


def test_without_final_the_run_itself_is_exported_with_its_own_seed(tmp_path):
    _, text, config = exported(tmp_path, final=False)
    assert (config.seed, config.evaluation.final) == (0, False)
    assert "final" not in config.provenance
    assert "seed 0 is the run's own, so that training repeats it" in text


def test_a_search_that_was_not_confirmed_has_a_final_recipe_when_asked_and_expects_nothing(tmp_path):
    _, text, config = exported(tmp_path, runs=searched())
    assert config.seed == 0
    (tmp_path / "best.yaml").unlink()
    _, text, config = exported(tmp_path, runs=searched(), final=True)
    assert config.seed == 1
    assert "expected score: not known" in text


def test_held_out_images_of_the_labelled_list_are_given_back_and_the_header_says_so(tmp_path):
    _, text, config = exported(tmp_path, config=data(**LABELLED))
    assert config.data.holdout is None
    assert "# held-out images: given back to the labelled list they were cut off (8 images)" in text
    assert "measured without the held-out images" in text
    assert config.provenance["final"]["held_out_given_back"] is True


def test_they_stay_held_out_when_asked(tmp_path):
    _, text, config = exported(tmp_path, config=data(**LABELLED), give_back=False)
    assert config.data.holdout.images == 8
    assert "kept out of the training, as asked" in text


def voc(**more):
    lists = {"name": "voc", "root": "voc", "labelled": "l.txt", "unlabelled": "u.txt"}
    return data(**lists, **LABELLED, **more)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (data(), "cut off the unlabelled list"),
        (voc(), "without data.val the runs have nothing else to be scored on"),
    ],
)
def test_images_that_cannot_be_given_back_stay_and_the_header_says_why(tmp_path, config, why):
    _, text, found = exported(tmp_path, config=config)
    assert found.data.holdout == config.data.holdout
    assert why in text
    with pytest.raises(RecipeError, match=why):
        exported(tmp_path, config=config, give_back=True, force=True)


def test_the_expected_mean_is_a_prediction_interval_from_the_arms_typical_runs(tmp_path):
    _, text, config = exported(tmp_path)
    scores = np.array(list(CLEAR[TOP].values())) - 2
    half = stats.t.ppf(1 - 0.025 / 3, 7) * scores.std(ddof=1) * np.sqrt(1 / 3 + 1 / 8)
    low, high = scores.mean() - half, scores.mean() + half
    assert "expected mIoU on the validation list: a new run " in text
    assert f"the mean of 3 {low:.2f} to {high:.2f} (95 % prediction intervals" in text
    assert "allowance for the choice among 3 configurations" in text
    assert config.provenance["final"]["expected"]["final/last/miou"]["mean_of_runs"] == pytest.approx(
        [low, high], abs=1e-4
    )


def test_an_expected_score_never_leaves_what_a_percentage_can_be():
    assert _range((85.65, 100.75)) == "85.65 to 100.00"
    assert _range((-3.0, 41.2)) == "0.00 to 41.20"


def test_lost_runs_are_not_in_the_expected_score_and_are_counted_beside_it(tmp_path):
    collapsed = {arm: dict(of_arm) for arm, of_arm in CLEAR.items()}
    collapsed[TOP][7] -= 30.0
    runs = [*searched(), *confirmed_runs(collapsed), confirm_run(90, TOP, 8, 1.0, state="failed")]
    _, text, config = exported(tmp_path, runs=[run for run in runs if run.config.get("confirm", {}).get("seed") != 8])
    found = config.provenance["final"]["expected"]["final/last/miou"]
    assert found["from_runs"] == 7
    assert found["mean"] == pytest.approx(np.mean(list(collapsed[TOP].values())[:7]) - 2, abs=1e-4)
    assert "1 of 8 runs was lost" in text
    assert collapsed[TOP][7] - 2 < found["collapsed_below"] < min(list(collapsed[TOP].values())[:7]) - 2


EXPECTED = {
    "mean": 70.0,
    "one_run": [68.0, 72.0],
    "mean_of_runs": [69.0, 71.0],
    "from_runs": 8,
    "collapsed_below": 65.0,
}
PROVENANCE = {"final": {"seeds": [9, 10, 11], "expected": {"final/last/miou": EXPECTED}}}


def outcome_of(*scores):
    runs = [
        SeedRun(config=tiny(seed=9 + number), folder=Path(), scores={"final/last/miou": score})
        for number, score in enumerate(scores)
    ]
    return "\n".join(compared(PROVENANCE, runs))


def test_a_run_that_collapsed_is_named_and_the_mean_of_the_others_given():
    said = outcome_of(70.0, 50.0, 70.5)
    assert "seed 10 collapsed: final/last/miou 50.00 is below 65.00" in said
    assert "without collapsed runs: final/last/miou mean 70.25 (95 % t interval" in said


@pytest.mark.parametrize(("scores", "where"), [((70.0, 70.2, 70.4), "within"), ((66.0, 66.2, 66.4), "outside")])
def test_the_mean_is_held_against_what_was_expected(scores, where):
    assert outcome_of(*scores) == f"expected by the study: final/last/miou 69.00 to 71.00; {scores[1]:.2f} is {where}"


def test_of_a_config_that_is_no_recipe_nothing_is_compared():
    assert compared(None, []) == []
    assert compared({"study": "s"}, []) == []


def test_options_of_the_recipe_without_it_are_refused(tmp_path):
    with pytest.raises(ExportError, match="belong to the final recipe"):
        exported(tmp_path, runs=searched(), seeds=5)


@pytest.mark.slow
def test_a_recipe_is_trained_with_its_fresh_seeds_and_its_runs_are_held_against_what_was_expected(
    tmp_path, monkeypatch
):
    """Two steps of a small network come nowhere near the confirmation's 70: both runs have collapsed."""
    monkeypatch.chdir(tmp_path)
    short = tiny(schedule={"epochs": 1, "steps_per_epoch": 2})
    exported(tmp_path, config=short, seeds=2)
    done = CliRunner().invoke(train_app, ["best.yaml", "--seeds", "2"])
    assert done.exit_code == 0, done.output
    scores = [rows(tmp_path / "runs" / f"best-seed{seed}")[-1]["final/last/miou"] for seed in (9, 10)]
    assert f"  seed 9: {scores[0]:.2f}\n  seed 10: {scores[1]:.2f}\n  mean {sum(scores) / 2:.2f} (95 % t" in done.output
    for seed, score in zip((9, 10), scores, strict=True):
        assert f"seed {seed} collapsed: final/last/miou {score:.2f} is below" in done.output


def test_the_command_says_what_becomes_of_the_held_out_images_and_how_to_train(tmp_path):
    place = study(tmp_path, confirmed())
    done = CliRunner().invoke(app, [str(place), "--out", str(tmp_path / "best.yaml"), "--seeds", "2"])
    assert done.exit_code == 0, done.output
    assert "held-out images: kept out of the training: they were cut off the unlabelled list" in done.output
    assert done.output.splitlines()[-1] == f"train it: ipix-tune train {tmp_path / 'best.yaml'} --seeds 2"
