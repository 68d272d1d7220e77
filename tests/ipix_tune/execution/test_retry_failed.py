"""`--retry-failed` reaches the search and the confirmation after it, and works from object storage too."""

import shutil
from pathlib import Path

import pytest
from rich.console import Console

from ipix_tune.cli.exit_codes import run as run_app
from ipix_tune.cli.main import app
from ipix_tune.config.load_study import load
from ipix_tune.execution.phase import Outcome
from ipix_tune.storage.object_store import Store
from ipix_tune.storage.study_folder import prepare
from ipix_tune.study import run_search as studies
from tests.ipix_tune.running import TINY, entries, tiny
from tests.ipix_tune.studies import base, write


@pytest.mark.parametrize("asked", [True, False])
def test_a_sweep_that_confirms_by_itself_offers_failed_runs_of_both(tmp_path, monkeypatch, asked):
    seen = {}

    def ran(phase):
        def run(study, *, retry_failed, **_):
            seen[phase] = retry_failed
            return Outcome(
                folder=Path(tmp_path),
                headline="",
                by_user=False,
                cut_short=None,
                converged=None,
                scored=1,
                needed=frozenset(),
            )

        return run

    monkeypatch.setattr("ipix_tune.study.run_search.run", ran("search"))
    monkeypatch.setattr("ipix_tune.study.run_confirm.confirm", ran("confirmation"))
    monkeypatch.setattr("ipix_tune.study.run_search.finish", lambda study, outcome, console: True)
    confirm = {"after_search": True, "ablate": {"interpixel.alpha": 0}}
    file = write(tmp_path, {**base(), "storage": str(tmp_path), "confirm": confirm})
    prepare(load(file), resume=False)
    with pytest.raises(SystemExit) as left:
        run_app(app, args=["sweep", str(file), "--resume", *(["--retry-failed"] if asked else [])])
    assert left.value.code == 0
    assert seen == {"search": asked, "confirmation": asked}


def test_without_a_resume_there_is_nothing_to_retry(tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        run_app(app, args=["sweep", str(write(tmp_path, base())), "--retry-failed"])
    assert left.value.code == 2
    assert "--retry-failed belongs to --resume" in capsys.readouterr().err


@pytest.mark.slow
def test_a_failed_trial_in_object_storage_runs_again_from_its_own_checkpoint_on_another_machine(
    bucket, tmp_path, monkeypatch
):
    """The report of its second epoch fails; the driver's folder is lost; the retry trains no epoch twice."""
    monkeypatch.chdir(tmp_path)
    file = tiny(
        tmp_path,
        storage=f"{bucket}/lab",
        trainer={**TINY["trainer"], "schedule": {"epochs": 2, "steps_per_epoch": 2}},
        search={"optim.lr": {"choice": [0.01, 0.02]}},
        points=[{"optim.lr": 0.01}],
        budget={"trials": 1},
        scheduler={"name": "none"},
        resources={"cpus_per_worker": 1, "concurrent": 1},
    )
    study, console = load(file), Console(file=(tmp_path / "console.txt").open("a"), width=200)
    with monkeypatch.context() as failing:
        failing.setattr("ipix_tune.execution.trainable.in_actor", failing_in_epoch(2))
        outcome = studies.run(study, resume=False, address=None, console=console)
        studies.finish(study, outcome, console=console)
    store = Store(f"{bucket}/lab")
    assert entries(outcome.folder)["t0000"].state == "failed"
    assert "trials/t0000/checkpoints/last.pt" in set(store.keys("tiny"))
    shutil.rmtree(tmp_path / "studies")

    outcome = studies.run(study, resume=True, address=None, console=console, retry_failed=True)
    assert "run again, as asked by --retry-failed: t0000" in (tmp_path / "console.txt").read_text()
    (entry,) = entries(outcome.folder).values()
    assert (entry.key, entry.state, sorted(entry.scores)) == ("t0000", "complete", [1, 2])
    lines = store.get("tiny/trials/t0000/metrics.jsonl").decode().splitlines()
    assert len(lines) == 2, "an epoch was trained twice"


def failing_in_epoch(epoch):
    """What a trial runs in its actor."""

    def in_actor(config):
        from ray import tune

        from ipix_tune.execution import trainable
        from ipix_tune.search.trial_message import TrialMessage
        from trainers.common.errors import TrainingError

        report = tune.report

        def told(row):
            if TrialMessage.from_result(row).epoch == epoch:
                raise TrainingError("this trial fails")
            report(row)

        tune.report = told
        try:
            trainable.in_actor(config)
        finally:
            tune.report = report

    return in_actor
