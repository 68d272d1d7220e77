"""A real study of two objectives on a real Ray: run, cut off, resumed, reported, exported."""

import pyarrow.parquet as pq
import pytest

from analysis.ingest.tables import load as load_tables
from analysis.stats.pareto import pareto
from analysis.stats.study import from_tables
from tests.ipix_tune.running import TINY, entries, metrics_of, run, tiny
from trainers.common.yaml_file import load as load_config
from trainers.config import TrainConfig

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stopped_and_resumed(tmp_path_factory):
    """Against a price that no clock measures, so that it can be compared; a budget of epochs cuts the first driver
    off."""
    file = tiny(
        tmp_path_factory.mktemp("two"),
        objective={"metric": "val/miou", "second_objective": {"metric": "train/loss", "mode": "min"}},
        budget={"trials": 4, "epochs": 5},
        resources={"cpus_per_worker": 1, "concurrent": 1},
    )
    cut = run(file, report=False)
    before = entries(cut.folder)
    outcome = run(file, resume=True, overrides=["budget.epochs=99"])
    return file, cut, before, outcome


def test_the_first_driver_was_cut_off_with_trials_open(stopped_and_resumed):
    _, cut, before, outcome = stopped_and_resumed
    assert "budget.epochs is over" in cut.cut_short
    assert outcome.cut_short is None
    assert "running" in {entry.state for entry in before.values()}


def test_after_the_resume_every_trial_ended_and_keeps_its_last_value_of_both(stopped_and_resumed):
    place, before = stopped_and_resumed[3].folder, stopped_and_resumed[2]
    after = entries(place)
    assert len(after) == 4
    assert {entry.state for entry in after.values()} <= {"complete", "stopped"}
    for key, entry in after.items():
        written = {row["epoch"]: row for row in metrics_of(place, key)}
        last = max(entry.scores)
        assert entry.scores == {epoch: written[epoch]["val/miou"] for epoch in entry.scores}
        assert entry.second_score == written[last]["train/loss"]
    for key, entry in before.items():
        assert after[key].values == entry.values
        assert {epoch: after[key].scores[epoch] for epoch in entry.scores} == entry.scores


def test_the_tables_have_both_objectives_and_what_was_measured(stopped_and_resumed):
    place = stopped_and_resumed[3].folder
    found = entries(place)
    for row in pq.read_table(place / "tables" / "runs.parquet").to_pylist():
        entry = found[row["run_id"].removeprefix("tiny-")]
        assert (row["objective"], row["against"]) == (entry.scores[max(entry.scores)], entry.second_score)
    history = pq.read_table(place / "tables" / "history.parquet").to_pylist()
    assert all(row["time/step_ms"] > 0 and row["memory/peak_mib"] > 100 for row in history)
    assert all(row["time/step_ms"] < 1000 * row["time/epoch_s"] for row in history)


def test_page_export_and_checkpoints_agree_on_the_front(stopped_and_resumed):
    file, _, _, outcome = stopped_and_resumed
    place = outcome.folder
    front = [f"t{point.trial.number:04d}" for point in pareto(from_tables(load_tables(place)), noise=0.5).front]
    told = load_config(place / "best.yaml", TrainConfig).provenance
    assert told["trial"] == front[0]
    assert told["objective"]["front"] == front
    assert {path.parent.name for path in place.glob("trials/*/checkpoints")} == set(front)
    page = (place / "report.html").read_text()
    assert "on the Pareto front, from val/miou" in page
    assert "What does val/miou cost in train/loss?" in page
    assert "trial on the front" in page
    assert (place / "plots" / "pareto.png").exists()
    assert "Pareto front so far" in (file.parent / "console.txt").read_text()


def test_against_memory_every_trial_has_a_process_of_its_own(tmp_path):
    """A process's peak is that of all it ever did: the second, smaller trial must not have the first one's."""
    data = {**{name: value for name, value in TINY["trainer"]["data"].items() if name != "batch_size"}, "crop": 128}
    place = run(
        tiny(
            tmp_path,
            trainer={**TINY["trainer"], "data": data, "schedule": {"epochs": 1, "steps_per_epoch": 1}},
            objective={"second_objective": {"metric": "memory/peak_mib"}},
            search={"data.batch_size": {"choice": [12, 1]}},
            points=[{"data.batch_size": 12}, {"data.batch_size": 1}],
            scheduler={"name": "none"},
            budget={"trials": 2},
            resources={"cpus_per_worker": 1, "concurrent": 1},
        ),
        report=False,
    ).folder
    found = entries(place)
    assert found["t0001"].second_score < found["t0000"].second_score - 20
