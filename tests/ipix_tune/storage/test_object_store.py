"""Against a real S3 server on this machine, and file:// where that is enough."""

import os
import subprocess
import sys
import threading

import pytest

from ipix_tune.cli import exit_codes, sweep
from ipix_tune.config.load_study import load
from ipix_tune.execution.node_checks import look
from ipix_tune.execution.trainable import _at_home, _train, trial_config
from ipix_tune.storage import study_folder
from ipix_tune.storage.object_store import Store, StoreError
from ipix_tune.storage.object_sync import CopyKeeper, ObjectCopy, copy_of, scratch
from ipix_tune.trainer.own.trainer import OwnTrainer
from ipix_tune.trainer.resources import ResourcesConfig
from tests.ipix_tune.studies import base, config_of, write
from tests.trainers.runs import rows, same_tensors, tensors
from trainers.common.errors import ConfigError, OutputError
from trainers.common.object_uri import without_query
from trainers.loop.fit import fit

NOWHERE = "s3://bucket/studies?scheme=http&endpoint_override=127.0.0.1:9"


@pytest.fixture(params=["s3", "file"])
def store(request, tmp_path):
    return Store(f"{request.getfixturevalue('bucket')}/lab" if request.param == "s3" else (tmp_path / "lab").as_uri())


def filled(place, **files):
    for name, text in files.items():
        path = place / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return place


def test_a_folder_comes_back_as_it_was_copied(store, tmp_path):
    there = filled(tmp_path / "a", journal="one", wandb__run__log="two")
    assert ObjectCopy(store, "study", there).push() == 2
    assert ObjectCopy(store, "study", tmp_path / "b").pull() == 2
    assert (tmp_path / "b" / "wandb" / "run" / "log").read_text() == "two"


def test_only_what_changed_is_copied_again(store, tmp_path):
    copy = ObjectCopy(store, "study", filled(tmp_path / "a", journal="one", other="two"))
    copy.push()
    filled(tmp_path / "a", journal="longer")
    assert copy.push() == 1
    assert store.get("study/journal") == b"longer"


def test_what_was_fetched_is_not_copied_back(store, tmp_path):
    store.put("study/journal", b"one")
    copy = ObjectCopy(store, "study", tmp_path / "b")
    copy.pull()
    assert copy.push() == 0


def test_hidden_files_earlier_checkpoints_and_skipped_folders_stay_here(store, tmp_path):
    there = filled(
        tmp_path / "a", **{"ray__x": "", ".lock": "", "checkpoints__previous.pt": "", "checkpoints__last.pt": ""}
    )
    ObjectCopy(store, "study", there, skip=("ray",)).push()
    assert store.keys("study") == ["checkpoints/last.pt"]


def test_a_file_that_vanishes_while_the_folder_is_copied_is_left_out(store, tmp_path, monkeypatch):
    there = filled(tmp_path / "a", journal="one", passing="two")
    copy = ObjectCopy(store, "study", there)
    names = copy.names()
    (there / "passing").unlink()
    monkeypatch.setattr(copy, "names", lambda: names)
    assert copy.push() == 1


def test_a_deleted_folder_is_gone_and_its_neighbour_is_not(store):
    for key in ("trials/t0001/checkpoints/last.pt", "trials/t0001/config.yaml", "trials/t0010/checkpoints/last.pt"):
        store.put(f"study/{key}", b"x")
    store.delete("study/trials/t0001/checkpoints")
    assert store.keys("study/trials") == ["t0001/config.yaml", "t0010/checkpoints/last.pt"]


def test_a_name_is_there_or_not(store):
    store.put("study/study.yaml", b"x")
    assert [store.exists(key) for key in ("study/study.yaml", "study", "other", "study/other")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_reader_never_sees_part_of_an_object_that_is_being_replaced(store):
    versions = [bytes([number]) * number * 20_000 for number in range(1, 31)]
    store.put("last.pt", versions[0])
    done = threading.Event()

    def replace():
        for data in versions:
            store.put("last.pt", data)
        done.set()

    writer = threading.Thread(target=replace)
    writer.start()
    seen = []
    while not done.is_set():
        seen.append(store.get("last.pt"))
    writer.join()
    assert seen
    assert all(data in versions for data in seen)


def test_an_upload_that_is_killed_leaves_the_object_before_it(bucket, tmp_path):
    store = Store(f"{bucket}/lab")
    store.put("last.pt", b"before")
    killed = (
        "import os, signal, sys\nfrom trainers.common.object_uri import open_uri\n"
        "files, path = open_uri(sys.argv[1], key='storage')\nstream = files.open_output_stream(f'{path}/last.pt')\n"
        "stream.write(b'x' * 30_000_000)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", killed, f"{bucket}/lab"], check=False).returncode == -9
    assert store.get("last.pt") == b"before"


def test_a_large_object_comes_back_whole(bucket):
    """In one part: completing an upload whose second part came first fails in moto."""
    data = os.urandom(9 * 1024**2)
    store = Store(f"{bucket}/lab")
    store.put("last.pt", data)
    assert store.get("last.pt") == data


def test_a_storage_that_can_be_written_passes_and_keeps_nothing_of_the_check(store):
    store.check()
    assert store.keys("") == []


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://no-such-bucket/studies", r"storage = s3://no-such-bucket/studies cannot be reached or written.*bucket"),
        pytest.param(NOWHERE, r"storage = s3://bucket/studies cannot be reached", marks=pytest.mark.slow),
        ("ftp://host/studies", r"storage = ftp://host/studies: ftp:// is not known; give a path, or one of s3"),
    ],
)
def test_a_storage_that_cannot_be_used_is_named(uri, message, s3_server):
    with pytest.raises((StoreError, ConfigError), match=message):
        Store(uri, wait_s=0).check()


def test_access_keys_in_a_uri_are_not_shown():
    assert without_query("s3://ID:SECRET@bucket/x?region=y") == "s3://bucket/x"


def away(tmp_path):
    """A storage that fails at once: a file lies where its folder should be."""
    (tmp_path / "away").touch()
    return Store((tmp_path / "away").as_uri(), wait_s=0)


def test_a_storage_that_is_away_is_a_fault_of_the_output(tmp_path):
    with pytest.raises(OutputError, match=r"away/a: object storage failed.*resume"):
        away(tmp_path).put("a", b"x")


def test_a_keeper_says_once_that_the_storage_failed_and_does_not_wait_again(tmp_path):
    faults = []
    keeper = CopyKeeper(ObjectCopy(away(tmp_path), "s", filled(tmp_path / "a", x="x")), on_fault=faults.append)
    keeper.save()
    keeper.save()
    assert len(faults) == 1


def study(storage, **changes):
    return {**base(), "storage": storage, **changes}


@pytest.fixture
def stored(bucket, tmp_path, monkeypatch):
    """A study in object storage, prepared on this machine, and its copy."""
    monkeypatch.chdir(tmp_path)
    config = load(write(tmp_path, study(f"{bucket}/lab")))
    copy = copy_of(config, study_folder.study_folder(config))
    with study_folder.prepared(config, resume=False, copy=copy) as place:
        filled(place, **{"journal.log": "{}\n", "ray__x": "", "trials__t0000__x": ""})
        copy.push()
    return config, place


def elsewhere(config, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return copy_of(config, study_folder.study_folder(config))


def test_the_driver_copies_the_study_without_rays_scratch_and_the_trials(stored):
    config, _ = stored
    assert Store(config.storage).keys(config.name) == ["environment.json", "journal.log", "study.id", "study.yaml"]


def test_a_study_that_the_storage_holds_is_not_started_again_elsewhere(stored, tmp_path, monkeypatch):
    config, _ = stored
    copy = elsewhere(config, tmp_path, monkeypatch)
    with (
        pytest.raises(study_folder.FolderError, match=r"lab/small exists\. Continue that study with --resume"),
        study_folder.prepared(config, resume=False, copy=copy),
    ):
        pass


def test_a_study_is_resumed_where_its_folder_never_was(stored, tmp_path, monkeypatch):
    config, first = stored
    copy = elsewhere(config, tmp_path, monkeypatch)
    with study_folder.prepared(config, resume=True, copy=copy) as place:
        assert place != first
        assert (place / "journal.log").read_text() == "{}\n"


def test_a_study_that_is_nowhere_cannot_be_resumed_and_leaves_no_folder(bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load(write(tmp_path, study(f"{bucket}/lab")))
    copy = copy_of(config, study_folder.study_folder(config))
    with (
        pytest.raises(study_folder.FolderError, match="there is no study to resume"),
        study_folder.prepared(config, resume=True, copy=copy),
    ):
        pass
    assert not (tmp_path / "studies").exists()


def test_a_node_that_cannot_write_the_object_storage_says_so(tmp_path):
    (fault,) = look(OwnTrainer(), config_of(), away(tmp_path).uri, "")
    assert fault.startswith(f"storage = {away(tmp_path).uri} cannot be reached or written")


def test_a_wrong_storage_ends_the_command_with_code_2_before_anything_starts(tmp_path, capsys):
    file = write(tmp_path, study("ftp://host/studies"))
    with pytest.raises(SystemExit) as ended:
        exit_codes.run(sweep.app, args=[str(file)])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: storage = ftp://host/studies: ftp:// is not known")


def in_store(bucket, *, epochs=4):
    trainer = config_of(schedule={"epochs": epochs, "steps_per_epoch": 2}).model_dump(mode="json")
    return trial_config(
        "t0000",
        trainer=trainer,
        run_dir="small/trials/t0000",
        metric="val/miou",
        resources=ResourcesConfig(),
        store=f"{bucket}/lab",
    )


class NodeLost(Exception):
    pass


def test_a_trial_that_another_node_takes_up_goes_on_bit_for_bit(bucket, tmp_path):
    config, sent = in_store(bucket), []

    def send(row):
        sent.append(row)
        if row["epoch"] == 2 and len(sent) == 2:
            raise NodeLost

    def train():
        with _at_home(config) as (local, copy):
            _train(local, send, copy)

    with pytest.raises(NodeLost):
        train()
    train()
    assert [row["epoch"] for row in sent] == [1, 2, 1, 2, 3, 4]
    assert sent[2:4] == sent[:2]
    ObjectCopy(Store(config["store"]), config["run_dir"], tmp_path / "copy").pull()
    fit(config_of(schedule={"epochs": 4, "steps_per_epoch": 2}), tmp_path / "undisturbed")
    assert rows(tmp_path / "copy") == rows(tmp_path / "undisturbed")
    assert same_tensors(tensors(tmp_path / "copy"), tensors(tmp_path / "undisturbed"))


def test_an_epoch_is_in_the_storage_before_the_study_learns_of_it(bucket, tmp_path):
    config, found = in_store(bucket, epochs=2), []

    def send(row):
        text = Store(config["store"]).get(f"{config['run_dir']}/metrics.jsonl")
        found.append((row["epoch"], len(text.splitlines())))

    with _at_home(config) as (local, copy):
        _train(local, send, copy)
    assert found == [(1, 1), (2, 2)]


def test_scratch_is_deleted_at_the_end_and_so_is_what_a_killed_process_left(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / f"ipix-tune-{os.getuid()}" / "999999999-x"
    left.mkdir(parents=True)
    with scratch((tmp_path / "lab").as_uri(), "s/trials/t0000") as copy:
        assert copy.folder.is_dir()
        assert not left.exists()
    assert not copy.folder.exists()
