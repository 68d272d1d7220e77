"""The card beside a run's weights."""

import json
import shutil

import pytest

from ipix_tune.cli.exit_codes import run as command_line
from ipix_tune.cli.main import app
from trainers.common.errors import ConfigError
from trainers.common.yaml_file import dump, load
from trainers.config import TrainConfig
from trainers.inference.model_card import MARK, model_card, seed_runs, write_card
from trainers.interface.epoch_record import METRICS, read_records
from trainers.loop.seeds import mean_of, with_next_seed

PROVENANCE = {
    "study": "voc",
    "candidates": 40,
    "seeds": 1,
    "objective": {"metric": "val/miou", "value": 71.234},
}
CONFIRMATION = {
    "words": "best: better by at least 0.3",
    "mean": {"value": 70.5, "interval_95": [70.1, 70.9], "seeds": 6},
    "verdicts": [{"words": "best against defaults: better, 1.2 (0.4 to 2.0)"}],
    "lost": {"collapsed": 1, "failed": 0, "runs": 7},
}


@pytest.fixture
def copied(run, tmp_path):
    """A run's folder without its weights, to be changed."""
    for name in ("config.yaml", "environment.json", METRICS):
        (tmp_path / "one").mkdir(exist_ok=True)
        shutil.copy(run / name, tmp_path / "one")
    return tmp_path / "one"


def with_provenance(folder, provenance):
    config = load(folder / "config.yaml", TrainConfig).model_copy(update={"provenance": provenance})
    (folder / "config.yaml").write_text(dump(config))


def test_it_says_scores_counts_split_commit_and_versions_of_the_run(run):
    text = model_card(run)
    last = read_records(run / METRICS)[-1]
    environment = json.loads((run / "environment.json").read_text())
    for wanted in (
        f"| validation list, last weights | 10 | {last.metrics['final/last/miou']:.2f} |",
        f"| held-out training images, last weights | 4 | {last.metrics['val/miou']:.2f} |",
        f"| background | {last.metrics['final/last/iou/0']:.2f} |",
        "trained on the labelled images alone",
        "12 labelled images trained it",
        "224 unlabelled images were not used",
        last.split_hash,
        environment["git_commit"],
        f"torch {environment['versions']['torch']}",
        "one seed (0), so they are *provisional*",
        "does not say where it comes from",
    ):
        assert wanted in text, wanted


def test_it_says_how_the_study_chose_the_config(copied):
    with_provenance(copied, PROVENANCE)
    text = model_card(copied)
    assert "the best of 40 that the study voc tried (val/miou 71.23, seeds: 1). Nothing confirmed it" in text
    with_provenance(copied, {**PROVENANCE, "confirmation": CONFIRMATION})
    text = model_card(copied)
    assert "Nothing confirmed it" not in text
    assert "confirmed the config with paired seeds: best: better by at least 0.3" in text
    assert "70.5 (95 % interval 70.1 to 70.9, 6 seeds)" in text
    assert "best against defaults: better, 1.2 (0.4 to 2.0)" in text
    assert "Of 7 runs 1 collapsed and 0 failed" in text


def test_runs_of_other_seeds_give_a_mean_and_its_interval(copied, tmp_path):
    other = tmp_path / "two"
    shutil.copytree(copied, other)
    config = load(other / "config.yaml", TrainConfig)
    (other / "config.yaml").write_text(dump(with_next_seed(config, 1)))
    rows = [json.loads(line) for line in (other / METRICS).read_text().splitlines()]
    rows[-1]["final/last/miou"] += 2
    (other / METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    value = read_records(copied / METRICS)[-1].metrics["final/last/miou"]
    mean = mean_of([value, value + 2])
    text = model_card(copied, beside=seed_runs([copied, other]))
    assert f"mean {mean.value:.2f} (95 % t interval {mean.low:.2f} to {mean.high:.2f}, n = 2 runs)" in text
    assert "provisional" not in text
    (other / "config.yaml").write_text(
        dump(config.model_copy(update={"optim": config.optim.model_copy(update={"lr": 9})}))
    )
    with pytest.raises(ConfigError, match=r"is not another seed of .*optim.lr"):
        seed_runs([copied, other])


def test_the_command_writes_it_again_and_leaves_a_card_of_ones_own(copied, capsys):
    def call(*options):
        with pytest.raises(SystemExit) as caught:
            command_line(app, args=["model-card", str(copied), *options], prog_name="ipix-tune")
        return caught.value.code, capsys.readouterr()

    assert call()[0] == 0
    assert call()[0] == 0
    assert (copied / "README.md").read_text() == model_card(copied)
    assert (copied / "README.md").read_text().startswith(MARK)
    (copied / "README.md").write_text("my own\n")
    code, printed = call()
    assert (code, "is not overwritten" in printed.err) == (2, True)
    assert write_card(copied) is None
    assert (copied / "README.md").read_text() == "my own\n"
    assert "## Scores" in call("--show")[1].out


def test_a_folder_without_a_run_has_no_card(tmp_path):
    with pytest.raises(ConfigError, match="no run that has trained an epoch"):
        model_card(tmp_path)
