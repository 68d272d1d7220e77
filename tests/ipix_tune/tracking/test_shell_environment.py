"""What stands in the shell's environment breaks no study in silence."""

import os
import subprocess
import sys

import pytest

from ipix_tune.config.study_config import LoggingConfig, StudyConfig
from ipix_tune.tracking.probe import probe
from ipix_tune.tracking.shell_environment import CLEARED, SILENT, check_logged, clear, wandb_mode
from tests.ipix_tune.studies import base, write
from trainers.common.errors import ConfigError


def study(request, **changes):
    """With a name of its own: the client refuses a run id that its process has used before."""
    name = request.node.name[:60].replace("[", "-").replace("]", "")
    return StudyConfig.model_validate({**base(), "name": name, **changes})


@pytest.mark.parametrize("name", sorted(CLEARED))
def test_a_variable_that_would_break_the_study_is_removed_and_named(name):
    environment = {name: "x", "HOME": "/root"}
    said = clear(environment)
    assert environment == {"HOME": "/root"}
    assert [line.split()[0] for line in said] == ([] if name in SILENT else [name])


@pytest.mark.parametrize("mode", ["Offline", "dryrun", "shared", "off"])
def test_an_unknown_wandb_mode_is_refused_with_the_ones_that_are_allowed(monkeypatch, mode):
    monkeypatch.setenv("WANDB_MODE", mode)
    with pytest.raises(ConfigError, match=rf"WANDB_MODE = {mode} .*set it to one of offline, online, disabled"):
        wandb_mode(LoggingConfig())


def test_wandb_mode_takes_precedence_over_the_study_file(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_mode(LoggingConfig(mode="online")) == "disabled"


def test_a_confirmation_that_nothing_would_be_logged_of_is_refused_before_the_search(monkeypatch, request):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with pytest.raises(ConfigError, match=r"WANDB_MODE is disabled and confirm\.after_search is true"):
        check_logged(study(request, confirm={"after_search": True, "defaults": {"interpixel.alpha": 0.0}}))


@pytest.mark.parametrize("name", ["WANDB_SWEEP_ID", "WANDB_LAUNCH"])
def test_the_probe_passes_where_the_variable_is_ignored(monkeypatch, request, name):
    monkeypatch.setenv(name, "abc123")
    assert [line.split()[0] for line in probe(study(request))] == [name]


def test_a_setting_that_wandb_refuses_is_named_before_the_first_trial(tmp_path):
    """In a process of its own: the client reads its settings once."""
    run = subprocess.run(
        [sys.executable, "-m", "ipix_tune.sweep", str(write(tmp_path, base())), f"--set=storage={tmp_path}"],
        env={**os.environ, "WANDB_BASE_URL": "wandb.example.org"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert "W&B takes no run with these and this shell's WANDB_ variables" in " ".join(run.stderr.split())
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "small").exists()


def test_a_client_that_cannot_be_imported_is_no_refused_project(monkeypatch, request):
    monkeypatch.setitem(sys.modules, "wandb", None)  # as Python marks a module that is not to be found
    with pytest.raises(
        ConfigError, match=r"W&B's client cannot be imported: ModuleNotFoundError: .*pip install"
    ) as told:
        probe(study(request))
    assert "logging.project" not in str(told.value)


@pytest.mark.parametrize("project", ["team/voc", "voc:1", "a#b", "50%", "what?", "a\\b", "x" * 129, ""])
def test_a_project_that_wandb_refuses_is_no_valid_study(project, request):
    with pytest.raises(ValueError, match=r"logging\.project"):
        study(request, logging={"project": project})
