import errno
import subprocess
import sys

import pytest
from pydantic import ValidationError
from rich.console import Console

from ipix_tune.config.study_config import StudyConfig
from ipix_tune.storage import study_folder
from ipix_tune.storage.atomic import FolderError, replace_bytes
from ipix_tune.study import run_search
from tests.ipix_tune.studies import base


def study(tmp_path, **changes):
    return StudyConfig.model_validate({**base(), "storage": str(tmp_path), **changes})


def test_a_new_study_has_its_resolved_file_and_its_environment(tmp_path):
    place = study_folder.prepare(study(tmp_path), resume=False)
    assert {"study.yaml", "environment.json"} <= {path.name for path in place.iterdir()}


def test_a_study_whose_folder_exists_asks_for_resume_or_another_name(tmp_path):
    study_folder.prepare(study(tmp_path), resume=False)
    with pytest.raises(FolderError, match=r"exists.*--resume.*--name"):
        study_folder.prepare(study(tmp_path), resume=False)


def test_resuming_what_was_never_started_is_refused(tmp_path):
    with pytest.raises(FolderError, match="no study to resume"):
        study_folder.prepare(study(tmp_path), resume=True)


def test_resuming_with_another_space_names_what_differs(tmp_path):
    study_folder.prepare(study(tmp_path), resume=False)
    other = study(tmp_path, scheduler={"reduction": 4})
    with pytest.raises(FolderError, match=r"scheduler.reduction: 3 there, 4 here"):
        study_folder.prepare(other, resume=True)


def test_the_budget_may_change_on_resume(tmp_path):
    study_folder.prepare(study(tmp_path), resume=False)
    place = study_folder.prepare(study(tmp_path, budget={"trials": 99}), resume=True)
    assert "trials: 99" in (place / "study.yaml").read_text()


def test_a_full_disk_is_refused_before_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(study_folder, "FREE_BYTES", 2**62)
    with pytest.raises(FolderError, match="no space left on the study's disk"):
        study_folder.prepare(study(tmp_path), resume=False)
    monkeypatch.undo()
    assert (study_folder.prepare(study(tmp_path), resume=False) / "study.yaml").is_file()


def test_a_start_that_was_cut_off_before_the_studys_file_is_made_again(tmp_path, monkeypatch):
    def cut(path, data):
        replace_bytes(path, data)
        raise KeyboardInterrupt

    monkeypatch.setattr(study_folder, "replace_bytes", cut)
    with pytest.raises(KeyboardInterrupt):
        study_folder.prepare(study(tmp_path), resume=False)
    monkeypatch.undo()
    assert (study_folder.prepare(study(tmp_path), resume=False) / "study.yaml").is_file()


def test_a_folder_with_trials_and_without_a_studys_file_is_not_begun_anew(tmp_path):
    (study_folder.study_folder(study(tmp_path)) / "trials" / "t0000").mkdir(parents=True)
    with pytest.raises(FolderError, match=r"exists\. Continue that study"):
        study_folder.prepare(study(tmp_path), resume=False)


def test_a_second_driver_is_refused_by_the_first_ones_process_number(tmp_path):
    place = study_folder.prepare(study(tmp_path), resume=False)
    code = (
        "import sys, pathlib\nfrom ipix_tune.storage.study_folder import only_driver\n"
        "with only_driver(pathlib.Path(sys.argv[1])):\n    print('holding', flush=True)\n    sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "holding\n"
        with pytest.raises(FolderError, match=f"another driver.*process {other.pid}"), study_folder.only_driver(place):
            pass
        other.stdin.close()
        other.wait()
    with study_folder.only_driver(place):
        pass


def test_a_lock_that_the_file_system_refuses_is_not_called_another_driver(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    place = study_folder.prepare(study(tmp_path), resume=False)
    monkeypatch.setattr(study_folder.fcntl, "flock", refuse)
    with (
        pytest.raises(FolderError, match=r"cannot be locked: No locks available \(ENOLCK\)"),
        study_folder.only_driver(place),
    ):
        pass


def test_a_second_driver_changes_nothing_before_it_is_refused(tmp_path):
    place = study_folder.prepare(study(tmp_path), resume=False)
    before = (place / "study.yaml").read_text()
    second = study_folder.prepared(study(tmp_path, budget={"trials": 99}), resume=True)
    with study_folder.only_driver(place), pytest.raises(FolderError, match="another driver"), second:
        pass
    assert (place / "study.yaml").read_text() == before


def test_checkpoints_go_and_metrics_stay(tmp_path):
    for key in ("t0000", "t0001"):
        (tmp_path / "trials" / key / "checkpoints").mkdir(parents=True)
        (tmp_path / "trials" / key / "metrics.jsonl").touch()
    study_folder.remove_checkpoints(tmp_path, of={"t0000"})
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("trials/*/*")) == [
        "trials/t0000/metrics.jsonl",
        "trials/t0001/checkpoints",
        "trials/t0001/metrics.jsonl",
    ]


def checkpoint(place, key):
    path = place / "trials" / key / "checkpoints"
    path.mkdir(parents=True)
    (path / "last.pt").write_bytes(b"x")
    return path


def test_what_a_trials_workers_write_after_its_end_is_removed_with_the_next_and_not_looked_for_forever(tmp_path):
    now = 0.0
    checkpoints = study_folder.Checkpoints(tmp_path, clock=lambda: now)
    first, other = checkpoint(tmp_path, "t0000"), checkpoint(tmp_path, "t0001")
    checkpoints.remove(of={"t0000"})
    assert (first.exists(), other.exists()) == (False, True)
    checkpoint(tmp_path, "t0000")
    now = study_folder.AFTERMATH_S
    checkpoints.remove(of={"t0000"})
    assert not first.exists()
    checkpoint(tmp_path, "t0000")
    now += 1
    checkpoints.remove(of={"t0000", "t0001"})
    assert (first.exists(), other.exists()) == (True, False)


def test_what_is_refused_leaves_the_study_file_as_it_was(tmp_path):
    """As `confirm --resume --set confirm.max_seeds=4` where the plan has other seeds."""
    place = study_folder.prepare(study(tmp_path), resume=False)
    before = (place / study_folder.STUDY).read_bytes()

    def refuse(place):
        raise FolderError(f"{place}: another plan")

    with pytest.raises(FolderError, match="another plan"):
        study_folder.prepare(study(tmp_path, retries=7), resume=True, accept=refuse)
    assert (place / study_folder.STUDY).read_bytes() == before


@pytest.mark.parametrize(("resume", "message"), [(True, "no study to resume"), (False, "exists")])
def test_a_folder_that_is_refused_is_refused_before_data_and_ray_are_asked(tmp_path, monkeypatch, resume, message):
    asked = study(tmp_path)
    if not resume:
        study_folder.prepare(asked, resume=False)
    for later in ("make_plan", "check_kinds", "probe", "opened"):
        monkeypatch.setattr(run_search, later, lambda *args, later=later, **named: pytest.fail(f"{later} was asked"))
    with pytest.raises(FolderError, match=message):
        run_search.run(asked, resume=resume, address=None, console=Console())


def test_asking_whether_a_study_may_begin_writes_nothing(tmp_path):
    study_folder.refuse(study(tmp_path), resume=False)
    assert list(tmp_path.iterdir()) == []


def test_a_tilde_is_the_users_home_and_a_variable_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert study_folder.study_folder(study("~/studies")).parent == tmp_path / "studies"
    assert study("s3://bucket/~a").storage == "s3://bucket/~a"
    for given in ("$HOME/studies", "/data/${USER}"):
        with pytest.raises(ValidationError, match="is not replaced in a study file"):
            study(given)
    with pytest.raises(ValidationError, match="there is no home folder ~nobody-here; write the whole path"):
        study("~nobody-here/studies")


@pytest.mark.parametrize("given", ["", "a\0b"])
def test_what_names_no_folder_is_refused(given):
    with pytest.raises(ValidationError):
        study(given)


def test_a_path_that_cannot_be_looked_at_is_named_with_the_remedy(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for given in (tmp_path / ("y" * 300), tmp_path / "loop"):
        with pytest.raises(FolderError, match=r"cannot be (read|made): .*give another --set storage="):
            study_folder.prepare(study(given), resume=False)
