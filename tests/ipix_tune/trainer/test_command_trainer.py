"""A command as trainer, run as a trial runs it but for Ray."""

import fcntl
import json
import os
import signal
import subprocess
import sys

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from ipix_tune.cli.train import app as train_app
from ipix_tune.cli.validate import check_file
from ipix_tune.config.load_study import from_mapping
from ipix_tune.config.search_space import SearchSpace
from ipix_tune.storage.study_folder import remove_checkpoints
from ipix_tune.trainer.choose import trainer_of
from ipix_tune.trainer.command.arguments import argv_of
from ipix_tune.trainer.command.placeholders import filled
from ipix_tune.trainer.command.process import CommandFailed, lock_of, wait_for_earlier
from ipix_tune.trainer.resources import ResourcesConfig
from tests.ipix_tune.toys import TOY, gone, section, study, wait_until
from trainers.common.errors import ConfigError
from trainers.common.yaml_file import dump


def started(tmp_path, given=None, *, stop_after=None):
    """What a run reported."""
    given = given or section()
    trainer, told = trainer_of(given), []
    config = trainer.validated(trainer.data_of(given, {}, {}), source="test", lines={})

    def report(epoch):
        told.append((epoch.epoch, epoch.metrics["val/dice"]))
        return stop_after is None or epoch.epoch < stop_after

    trainer.run(config, tmp_path, report)
    return told


def test_every_epoch_that_a_command_writes_down_is_reported(tmp_path):
    told = started(tmp_path)
    written = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert told == [(row["epoch"], row["val/dice"]) for row in written]
    assert [epoch for epoch, _ in told] == [1, 2, 3]


def test_a_command_that_failed_is_named_with_its_status_and_its_last_lines(tmp_path):
    failing = section()
    failing["command"] = [*failing["command"], "--fail-at", "2"]
    with pytest.raises(CommandFailed, match=r"status 1; its last line: the dog ate epoch 2$"):
        started(tmp_path, failing)


def test_a_run_that_is_taken_up_goes_on_where_it_was(tmp_path):
    failing = section()
    failing["command"] = [*failing["command"], "--fail-at", "3"]
    with pytest.raises(CommandFailed):
        started(tmp_path, failing)
    told = started(tmp_path, failing)
    assert told == started(tmp_path / "undisturbed")
    assert "epoch 1" not in (tmp_path / "output.log").read_text().split("the dog ate epoch 3")[1]


def test_without_a_way_to_resume_a_run_starts_anew_and_what_was_there_is_kept(tmp_path):
    failing = section(resume=None)
    once = 'test -e MARK || { touch MARK; exit 7; }; exec "$@"'
    failing["command"] = ["/bin/sh", "-c", once, "sh", *failing["command"]]
    failing["workdir"] = str(tmp_path)
    with pytest.raises(CommandFailed, match="status 7"):
        started(tmp_path / "t", failing)
    assert [epoch for epoch, _ in started(tmp_path / "t", failing)] == [1, 2, 3]
    assert (tmp_path / "t" / "earlier-1" / "run").is_dir()


def test_a_run_that_is_over_is_told_again_and_not_run_again(tmp_path):
    first = started(tmp_path)
    before = (tmp_path / "output.log").read_text()
    assert started(tmp_path) == first
    assert (tmp_path / "output.log").read_text() == before


def test_a_run_that_is_stopped_leaves_no_process_not_even_one_of_another_session(tmp_path):
    helper = tmp_path / "helper"
    slow = section(epochs=50)
    slow["command"] = [*slow["command"], "--pause", "0.2", "--helper", str(helper)]
    told = started(tmp_path, slow, stop_after=2)
    assert [epoch for epoch, _ in told] == [1, 2]
    assert gone(int(helper.read_text()))


def commands_of(helper):
    return [one for one in psutil.process_iter(["cmdline"]) if str(helper) in (one.info["cmdline"] or [])]


def owned(tmp_path):
    """A process whose command runs, and the file that names the command's helper. It hears Ctrl-C also where these
    tests do not, which a shell has put into the background."""
    helper, given = tmp_path / "helper", section(epochs=500)
    given["command"] = [*given["command"], "--pause", "0.2", "--helper", str(helper)]
    script = (
        "import json, signal, sys; from pathlib import Path; from ipix_tune.trainer.choose import trainer_of\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "given = json.loads(sys.argv[1]); trainer = trainer_of(given)\n"
        "config = trainer.validated(trainer.data_of(given, {}, {}), source='t', lines={})\n"
        "trainer.run(config, Path(sys.argv[2]), lambda epoch: True)\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script, json.dumps(given), str(tmp_path / "t")], stderr=subprocess.DEVNULL
    )
    if not wait_until(lambda: (tmp_path / "t" / "metrics.jsonl").exists(), 60):
        owner.kill()
        raise AssertionError("the run did not begin")
    return owner, helper


def test_a_run_whose_owner_is_killed_leaves_no_process(tmp_path):
    """As when its actor, its node or its driver dies."""
    owner, helper = owned(tmp_path)
    pid, commands = int(helper.read_text()), commands_of(helper)
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    assert commands
    assert wait_until(lambda: gone(pid) and all(gone(one.pid) for one in commands))


def test_a_run_that_takes_too_long_is_ended(tmp_path):
    slow = section(epochs=500, timeout_s=2)
    slow["command"] = [*slow["command"], "--pause", "0.5"]
    with pytest.raises(ConfigError, match="not over after 2 s"):
        started(tmp_path, slow)


def test_a_command_that_is_shorter_than_the_study_thinks_is_refused_by_its_length(tmp_path):
    short = section(epochs=5)
    short["command"][3] = "2"
    with pytest.raises(ConfigError, match="ended after epoch 2 of 5"):
        started(tmp_path, short)


def test_a_command_that_reports_nothing_is_named_with_where_was_looked(tmp_path):
    with pytest.raises(ConfigError, match=r"no epoch in jsonl \{run_dir\}/other\.jsonl \(.*run/other\.jsonl\)"):
        started(tmp_path, section(metrics={"jsonl": "{run_dir}/other.jsonl"}))


@settings(deadline=None, max_examples=25)
@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=30))
def test_a_value_never_becomes_shell(value):
    line = filled("printf %s {x}", {"x": value}, quoted=True)
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=True)
    assert done.stdout.decode() == value


def test_a_line_for_the_shell_is_run_by_it_with_seed_and_resume_behind(tmp_path):
    line = f"{sys.executable} {TOY} --epochs {{epochs}} --out {{run_dir}} --lr {{optim.lr}} --pause $PAUSE"
    given = section(command=line, environment={"PAUSE": "0.0{optim.lr}"}, config={"optim": {"lr": 1}})
    assert [epoch for epoch, _ in started(tmp_path, given)] == [1, 2, 3]


@pytest.mark.parametrize("kind", ["yaml", "json"])
def test_a_command_gets_all_settings_as_a_file(tmp_path, kind):
    given = section(config_format=kind, seed=None)
    trainer = trainer_of(given)
    config = trainer.validated(trainer.data_of(given, {"optim.lr": 0.25}, {}), source="t", lines={})
    given["command"] = ["/bin/cp", "{config}", str(tmp_path / "seen")]
    config = config.model_copy(update={"command": given["command"]})
    with pytest.raises(ConfigError, match="reported no epoch"):
        trainer.run(config, tmp_path / "t", lambda epoch: True)
    text = (tmp_path / "seen").read_text()
    assert "0.25" in text
    assert kind == "yaml" or json.loads(text) == {"optim": {"lr": 0.25}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"command": ["python", "{optim.lrr}"]},
            r'\{optim\.lrr\} is no setting; did you mean "optim\.lr"',
        ),
        ({"command": ["python", "train.py"]}, r"optim\.lr reaches the command nowhere: name it there as \{optim\.lr\}"),
        ({"score": None}, "score"),
        ({"epochs": 0}, "epochs"),
        ({"metrics": {"jsonl": "{run_dirr}/m"}}, "run_dirr"),
        ({"metrics": {"jsonl": "/tmp/all.jsonl"}}, "would be the same for all runs"),
        ({"config": {"optim": {"lr": 1}, "epochs": 3}}, "the study fills in"),
        ({"command": "python x.py {optim.lr}; echo done"}, "has several commands"),
        ({"command": 'python x.py --lr "{optim.lr}"'}, "stands within quotes"),
        ({"metrics": {"pattern": {"val/dice": "d ([0-9.]+)"}}}, "could not be told apart"),
        ({"wrokdir": "."}, 'wrokdir.*did you mean "workdir"'),
    ],
)
def test_a_section_that_cannot_be_is_refused_with_the_key(change, said):
    with pytest.raises(ConfigError, match=said):
        from_mapping(study(section() | change))


def test_the_trainers_score_is_the_studys_objective():
    assert from_mapping(study()).objective.metric == "val/dice"
    with pytest.raises(ConfigError, match="name two scores"):
        from_mapping(study(objective={"metric": "val/miou"}))


def test_a_command_without_a_seed_cannot_be_confirmed_and_the_study_says_so():
    with pytest.raises(ConfigError, match=r"takes no seed.*trainer\.seed"):
        from_mapping(study(section(seed=None), confirm={"top": 2, "defaults": False}))


def test_a_searched_length_is_refused():
    with pytest.raises(ConfigError, match="epochs cannot be searched: it is the fidelity"):
        from_mapping(study() | {"search": {"epochs": {"int": [1, 9]}}})


def test_a_program_that_is_not_there_is_refused_before_anything_starts():
    given = section()
    given["command"][0] = "no-such-program"
    trainer = trainer_of(given)
    config = trainer.validated(trainer.data_of(given, {}, {}), source="t", lines={})
    with pytest.raises(ConfigError, match="no program 'no-such-program'"):
        trainer.check(config, ResourcesConfig())


@pytest.mark.parametrize(("code", "refused"), [(0, False), (3, True)])
def test_the_users_own_check_decides_before_the_study_starts(code, refused):
    given = section(check=["/bin/sh", "-c", f"echo 12 images; exit {code}"])
    trainer = trainer_of(given)
    config = trainer.validated(trainer.data_of(given, {}, {}), source="t", lines={})
    if refused:
        with pytest.raises(ConfigError, match=r"ended with status 3:\n12 images"):
            trainer.check(config, ResourcesConfig())
    else:
        assert "checked: 12 images" in trainer.check(config, ResourcesConfig())


def test_an_exported_command_is_trained_with_several_seeds_and_their_mean_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = section()
    trainer = trainer_of(given)
    config = trainer.validated(trainer.data_of(given, {"optim.lr": 0.3}, {}), source="t", lines={})
    (tmp_path / "best.yaml").write_text(dump(config))
    done = CliRunner().invoke(train_app, ["best.yaml", "--seeds", "2"])
    assert done.exit_code == 0, done.output
    seeds = [last_score(tmp_path / "runs" / f"best-seed{seed}") for seed in (0, 1)]
    assert f"seed 0: {seeds[0]:.4g}" in done.output
    assert f"mean {sum(seeds) / 2:.4g} (95 % t interval" in done.output
    assert check_file(tmp_path / "best.yaml", [])[0].endswith("the config is valid (3 epochs, scored by val/dice)")


def last_score(folder):
    return json.loads((folder / "run" / "metrics.jsonl").read_text().splitlines()[-1])["val/dice"]


def test_a_grid_over_seeds_gives_each_run_its_own(tmp_path):
    grid = {"sampler": {"name": "grid"}, "scheduler": {"name": "none"}}
    loaded = from_mapping(study(**grid) | {"search": {"optim.lr": {"choice": [0.1]}, "seed": {"choice": [3, 4]}}})
    space = SearchSpace(loaded)
    configs = [space.to_config(values) for values in space.grid_points()]
    assert [argv_of(config, tmp_path, resumed=False)[-2:] for config in configs] == [["--seed", "3"], ["--seed", "4"]]


def test_an_arm_with_a_setting_that_nothing_knows_is_refused():
    confirm = {"top": 1, "defaults": {"optim.lr": 0.1}, "variants": {"big": {"optim.momentumm": 0.9}}}
    with pytest.raises(ConfigError, match=r"optim\.momentumm is neither in trainer\.config nor searched"):
        from_mapping(study(confirm=confirm))


def test_a_relative_working_directory_is_that_of_the_study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for asked, wanted in ((None, tmp_path), ("code", tmp_path / "code"), ("{run_dir}", "{run_dir}")):
        data = trainer_of(section(workdir=asked)).data_of(section(workdir=asked), {}, {})
        assert data["workdir"] == str(wanted)


def test_secrets_of_the_environment_stand_on_no_command_line(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "not-for-all-to-see")
    seen = []

    def look(epoch):
        seen.extend(" ".join(one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"]))
        return True

    slow = section()
    slow["command"] = [*slow["command"], "--pause", "0.3"]
    trainer = trainer_of(slow)
    trainer.run(trainer.validated(trainer.data_of(slow, {}, {}), source="t", lines={}), tmp_path, look)
    assert any("supervisor.py" in line for line in seen)
    assert not any("not-for-all-to-see" in line for line in seen)


def test_a_retry_waits_until_the_command_of_before_has_ended(tmp_path):
    lock = lock_of(tmp_path / "output.log")
    with lock.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(CommandFailed, match=r"has not ended after 0\.5 s"):
            wait_for_earlier(tmp_path / "output.log", seconds=0.5)
    wait_for_earlier(tmp_path / "output.log", seconds=0.5)


def test_checkpoints_that_a_section_names_are_deleted_and_nothing_else(tmp_path):
    folder = tmp_path / "trials" / "t0000"
    started(folder, section(checkpoints=["state.*"]))
    own = folder / "run"
    assert (own / "state.json").exists()
    outside = tmp_path / "state.outside"
    outside.write_text("kept")
    (own / "state.link").symlink_to(outside)
    remove_checkpoints(tmp_path, of={"t0000"})
    assert sorted(path.name for path in own.iterdir()) == ["metrics.jsonl", "state.link"]
    assert outside.read_text() == "kept"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_whose_owner_is_asked_to_end_leaves_no_process(tmp_path, number):
    """As an actor ends when its study is stopped, and a driver by Ctrl-C."""
    owner, helper = owned(tmp_path)
    pid = int(helper.read_text())
    owner.send_signal(number)
    assert owner.wait(60) != 0
    assert wait_until(lambda: gone(pid) and not commands_of(helper))


def test_a_run_whose_supervisor_is_killed_ends_and_says_so(tmp_path):
    """With what it has started in another session; the run fails, to be tried again."""
    owner, helper = owned(tmp_path)
    commands = commands_of(helper)
    supervisors = [one for one in psutil.process_iter(["cmdline"]) if _supervises(one, tmp_path)]
    assert len(supervisors) == 1
    supervisors[0].kill()
    assert owner.wait(60) != 0
    assert wait_until(lambda: gone(int(helper.read_text())) and all(gone(one.pid) for one in commands))


def test_what_a_run_left_whose_owner_and_supervisor_were_killed_together_ends_before_it_is_taken_up(tmp_path):
    owner, helper = owned(tmp_path)
    owner.kill()
    owner.wait()
    for one in psutil.process_iter(["cmdline"]):
        if _supervises(one, tmp_path):
            one.kill()
    wait_for_earlier(tmp_path / "t" / "output.log", seconds=30)
    assert wait_until(lambda: gone(int(helper.read_text())) and not commands_of(helper))


def _supervises(one, folder):
    words = one.info["cmdline"] or []
    return any(word.endswith("supervisor.py") for word in words) and str(folder) in " ".join(words)
