"""Real confirmations of a real study, as small as they get."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from analysis.ingest import tables
from analysis.ingest.wandb_files import read_folder
from analysis.stats.confirm.results import confirmed
from ipix_tune.cli.exit_codes import run as run_app
from ipix_tune.cli.main import app
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.search.trial_store import TrialStore
from ipix_tune.storage.study_folder import load_study
from ipix_tune.study.confirm_plan import load
from ipix_tune.study.run_confirm import as_study, must_have_begun
from tests.ipix_tune.running import TINY, entries, epochs_on_disk, metrics_of, run, tiny, wait_for
from trainers.common.yaml_file import load as load_config
from trainers.config import TrainConfig

CONFIRM = {"top": 1, "ablate": {"interpixel.alpha": 0}, "first_seeds": 2, "max_seeds": 3, "delta": 0.01}


def studied(folder, **confirm):
    data = {**TINY["trainer"]["data"], "draw": {"labelled": 12}}
    trainer = {**TINY["trainer"], "data": data, "schedule": {"epochs": 3, "steps_per_epoch": 4}}
    return tiny(
        folder,
        trainer=trainer,
        points=[{"interpixel.alpha": 1, "interpixel.distance": "kl", "optim.lr": 0.05}],
        budget={"trials": 2},
        scheduler={"name": "none"},
        resources={"cpus_per_worker": 1, "concurrent": 1},
        confirm={**CONFIRM, **confirm},
    )


def confirming(place, *more):
    return subprocess.Popen(
        [sys.executable, "-m", "ipix_tune.cli.confirm", str(place), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def ended(process):
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output
    return output


def runs_of(place):
    """{(arm, seed): (curve, state)} and the keys, from the confirmation's own journal."""
    study = as_study(load_study(place, []), load(place / "confirm/plan.json"), place)
    store = TrialStore(place / "confirm", study, SearchSpace(study), total=0, rounds=lambda known: [], letter="c")
    runs = {(one.values["arm"], one.values["seed"]): (one.scores, one.state) for one in store.entries()}
    assert len(runs) == len(store.entries()), "a run was made twice"
    return runs, {(one.values["arm"], one.values["seed"]): one.key for one in store.entries()}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A study that was searched and not confirmed; tests copy it."""
    return run(studied(tmp_path_factory.mktemp("searched"))).folder


@pytest.fixture(scope="module")
def undisturbed(searched, tmp_path_factory):
    """Its confirmation, as it ends when nothing happens to it."""
    place = shutil.copytree(searched, tmp_path_factory.mktemp("undisturbed") / "tiny")
    ended(confirming(place))
    return place


def test_before_a_search_there_is_nothing_to_confirm_and_no_ray_is_started(tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        run_app(app, args=["confirm", str(tmp_path / "studies/voc")], prog_name="ipix-tune")
    assert left.value.code == 2
    assert "there is no study folder" in capsys.readouterr().err


def test_a_study_file_that_was_never_run_is_refused(tmp_path, capsys):
    file = studied(tmp_path)
    with pytest.raises(SystemExit) as left:
        run_app(app, args=["confirm", str(file), "--dry-run"], prog_name="ipix-tune")
    assert left.value.code == 2
    assert "there is no study to confirm; run it first" in capsys.readouterr().err


@pytest.mark.slow
def test_every_arm_runs_the_same_seeds_none_of_the_search(searched, undisturbed):
    rows = pq.read_table(undisturbed / "tables/runs.parquet").to_pylist()
    search = [row for row in rows if row["phase"] == "search"]
    confirm = [row for row in rows if row["phase"] == "confirm"]
    assert len(search) == 2
    assert {row["seed"] for row in confirm} <= {1, 2, 3}
    hashes = {row["split_hash"] for row in search}
    for seed in (1, 2):
        splits = {row["arm"]: row["split_hash"] for row in confirm if row["seed"] == seed}
        assert len(set(splits.values())) == 1
        hashes |= set(splits.values())
        configs = [json.loads(row["config"]) for row in confirm if row["seed"] == seed]
        assert len(splits) == 4
        assert {one["data"]["draw"]["seed"] for one in configs} == {seed}
    assert len(hashes) == 3
    logged, _ = read_folder(undisturbed / "wandb")
    assert {run.job_type for run in logged} == {"search", "confirm"}
    assert all(run.config["confirm"]["arm"] for run in logged if run.job_type == "confirm")


@pytest.mark.slow
def test_the_runs_of_a_seed_have_the_same_labelled_images_and_are_scored_on_the_same(undisturbed):
    _, keys = runs_of(undisturbed)
    for number in (0, 1):
        runs = [undisturbed / "trials" / key / "splits" for (_, seed), key in keys.items() if seed == number]
        assert len(runs) == 4
        assert len({(run / "labelled.txt").read_text() for run in runs}) == 1
    assert len({(undisturbed / "trials" / key / "splits/holdout.txt").read_text() for key in keys.values()}) == 1


@pytest.mark.slow
def test_the_tables_judge_as_the_engine_did(undisturbed):
    runs, _ = runs_of(undisturbed)
    found = confirmed(tables.load(undisturbed))
    assert {(arm.name, seed): score for arm in found.arms for seed, score in arm.scores.items()} == {
        run: scores[max(scores)] for run, (scores, state) in runs.items() if state == "complete"
    }
    assert found.judgement.over
    assert all(arm.official.keys() == arm.scores.keys() for arm in found.arms)


@pytest.mark.slow
def test_the_searchs_record_is_not_touched(searched, undisturbed):
    assert entries(undisturbed) == entries(searched)


@pytest.mark.slow
def test_of_the_confirmation_the_first_run_of_every_arm_that_is_no_trial_keeps_its_checkpoints(undisturbed):
    arms = {arm.name for arm in load(undisturbed / "confirm/plan.json").arms if arm.trial is None}
    _, keys = runs_of(undisturbed)
    kept = {path.parent.name for path in undisturbed.glob("trials/c*/checkpoints")}
    assert kept == {key for (arm, seed), key in keys.items() if arm in arms and seed == 0}


@pytest.mark.slow
def test_the_checkpoints_of_the_exported_run_are_kept(undisturbed):
    exported = load_config(undisturbed / "best.yaml", TrainConfig).provenance["trial"]
    assert (undisturbed / "trials" / exported / "checkpoints").is_dir()


@pytest.mark.slow
def test_a_confirmation_that_has_begun_is_not_begun_again_nor_under_another_plan(undisturbed):
    again = confirming(undisturbed)
    assert "its confirmation has begun; go on with --resume" in again.communicate(timeout=300)[0]
    assert again.returncode == 2
    other = confirming(undisturbed, "--resume", "--set", "confirm.delta=0.5")
    assert "its confirmation has begun with confirm.delta: 0.01" in other.communicate(timeout=300)[0]
    assert other.returncode == 2


@pytest.mark.slow
def test_killed_in_the_middle_of_a_run_and_resumed_it_ends_as_the_undisturbed_one(searched, undisturbed, tmp_path):
    place = shutil.copytree(searched, tmp_path / "tiny")
    process = confirming(place)
    wait_for(lambda: epochs_on_disk(place, "c0002") >= 1 or None, seconds=400, what="the third run's first epoch")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    ended(confirming(place, "--resume"))
    ours, our_keys = runs_of(place)
    theirs, their_keys = runs_of(undisturbed)
    assert ours == theirs
    for one, key in our_keys.items():
        assert metrics_of(place, key) == metrics_of(undisturbed, their_keys[one])
    assert confirmed(tables.load(place)).judgement == confirmed(tables.load(undisturbed)).judgement
    rows = [row for row in pq.read_table(place / "tables/runs.parquet").to_pylist() if row["phase"] == "confirm"]
    assert len(rows) == len(ours)


@pytest.mark.slow
def test_where_there_is_nothing_to_compare_the_sweep_still_reports_and_exports(tmp_path):
    """The first point, which is the defaults, is the only trial, and so the best."""
    file = studied(tmp_path, after_search=True, ablate={})
    command = [sys.executable, "-m", "ipix_tune.sweep", str(file), "--set", "budget.trials=1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=550)
    assert done.returncode == 1
    assert "the search is safe, and was not confirmed: tiny: all configurations to confirm are the same" in done.stdout
    assert (tmp_path / "studies/tiny/best.yaml").read_text().startswith("# PROVISIONAL: 1 seed, not confirmed")


@pytest.mark.slow
def test_with_after_search_a_sweep_confirms_and_exports_by_itself(tmp_path):
    file = studied(tmp_path, after_search=True, max_seeds=2)
    command = [sys.executable, "-m", "ipix_tune.sweep", str(file)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=550, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("verdict: ") == 3
    first = (tmp_path / "studies/tiny/best.yaml").read_text().splitlines()[0]
    assert first.startswith(("# CONFIRMED: ", "# NOT CONFIRMED: "))
    assert "Is it better?" in (tmp_path / "studies/tiny/report.html").read_text()
    again = subprocess.run(
        [*command, "--resume"], capture_output=True, text=True, timeout=550, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert again.returncode == 0, again.stdout + again.stderr


@pytest.mark.parametrize(
    ("resume", "more_seeds", "wanted"), [(None, 0, None), (True, 0, True), (False, 0, False), (None, 2, True)]
)
def test_a_sweep_that_is_taken_up_goes_on_with_its_confirmation_whether_or_not_it_has_begun(resume, more_seeds, wanted):
    assert must_have_begun(resume=resume, more_seeds=more_seeds) is wanted
