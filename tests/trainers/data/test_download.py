"""Data in a real S3 server on this machine, and at file:// where that is enough."""

import shutil
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image
from pyarrow import fs

from trainers.common.errors import ConfigError, DataError
from trainers.common.object_uri import open_uri
from trainers.config import TrainConfig
from trainers.data import download
from trainers.data.download import local_root
from trainers.data.open import open_data
from trainers.loop.run_identity import identity


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    download._staged.cache_clear()
    yield tmp_path / "cache" / "ipix-tune" / "staged"
    download._staged.cache_clear()


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A data set of six images."""
    root = tmp_path_factory.mktemp("data") / "set"
    (root / "images").mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(random.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(root / f"images/{number}.png")
        Image.fromarray(random.integers(0, 2, (20, 24), dtype=np.uint8)).save(root / f"images/{number}-mask.png")
    lines = [f"images/{number}.png images/{number}-mask.png\n" for number in range(6)]
    (root / "labelled.txt").write_text("".join(lines[:4]))
    (root / "unlabelled.txt").write_text("".join(lines[4:]))
    return root


@pytest.fixture
def remote(bucket, local):
    """The same in a bucket."""
    files, path = open_uri(bucket, key="data.root")
    fs.copy_files(str(local), f"{path}/set", destination_filesystem=files)
    return f"{bucket}/set"


def config(root):
    data = {
        "name": "folder",
        "root": str(root),
        "num_classes": 2,
        "crop": 16,
        "batch_size": 2,
        "holdout": {"images": 1},
    }
    lists = {"labelled": "labelled.txt", "unlabelled": "unlabelled.txt"}
    return TrainConfig.model_validate({"data": data | lists, "method": {"name": "fixmatch"}})


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_path_is_used_as_it_is(local, cache):
    assert local_root(str(local)) == local
    assert not cache.exists()


def test_a_folder_in_object_storage_is_staged_whole(remote, local, cache):
    folder = local_root(remote)
    assert folder.parent == cache
    assert content(folder) == content(local)


def test_staged_data_give_the_same_lists_and_the_same_checkpoint_identity(remote, local):
    here, there = config(local), config(remote)
    split = open_data(here.data, final=False).split_hash
    assert open_data(there.data, final=False).split_hash == split
    assert identity(there, split_hash=split) == identity(here, split_hash=split)


@pytest.mark.parametrize("form", ["tar", "zip", "gztar"])
@pytest.mark.parametrize("top", ["set", ""])
def test_an_archive_is_unpacked_also_one_that_holds_a_single_folder(form, top, local, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "voc"), form, local.parent if top else local, top or ".")
    assert content(local_root(f"file://{archive}")) == content(local)


@pytest.mark.parametrize("kind", ["outside", "link"])
def test_an_archive_that_reaches_outside_itself_is_refused(kind, tmp_path):
    with tarfile.open(tmp_path / "voc.tar", "w") as tar:
        member = tarfile.TarInfo("../outside" if kind == "outside" else "link")
        if kind == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(DataError, match=r"voc.tar holds .*, which is no file inside it"):
        local_root(f"file://{tmp_path}/voc.tar")
    assert not (tmp_path / "outside").exists()


def test_four_processes_that_start_at_once_fetch_every_file_once(remote, local, s3_server, cache):
    log = s3_server[1]
    before = len(log.read_text().splitlines())
    code = "import sys; from trainers.data.download import local_root; print(local_root(sys.argv[1]))"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, remote], stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    found = {process.communicate()[0].strip() for process in processes}
    assert len(found) == 1
    fetched = [line for line in log.read_text().splitlines()[before:] if "GET /" in line and ".png" in line]
    assert len(fetched) == len(list((local / "images").iterdir()))
    assert sorted(path.suffix for path in cache.iterdir()) == ["", ".lock"]


def test_data_that_changed_are_staged_beside_the_old(local, tmp_path):
    uri = shutil.copytree(local, tmp_path / "copy").as_uri()
    first = local_root(uri)
    (tmp_path / "copy" / "labelled.txt").write_text("images/0.png images/0-mask.png\n")
    download._staged.cache_clear()
    second = local_root(uri)
    assert first != second
    assert (first / "labelled.txt").read_text() != (second / "labelled.txt").read_text()


def test_what_a_killed_process_fetched_is_not_taken_for_the_whole(local, cache):
    whole = local_root(local.as_uri())
    whole.rename(whole.with_name(f"{whole.name}.partial"))
    (whole.with_name(f"{whole.name}.partial") / "labelled.txt").write_text("torn")
    download._staged.cache_clear()
    assert content(local_root(local.as_uri())) == content(local)
    assert not whole.with_name(f"{whole.name}.partial").exists()


def test_data_that_are_not_there_are_named(bucket, monkeypatch):
    monkeypatch.setattr(download, "WAIT_S", 0)
    with pytest.raises(DataError, match=rf"data\.root = {bucket}/voc: nothing is there; give a folder, or an archive"):
        open_data(config(f"{bucket}/voc").data, final=False)


def test_a_bucket_that_is_not_there_is_named(s3_server):
    with pytest.raises(DataError, match=r"data\.root = s3://no-such-bucket/voc"):
        download._staged("s3://no-such-bucket/voc", download.cache_folder(), 0)


def test_an_archive_that_is_none_is_named(tmp_path):
    (tmp_path / "voc.zip").write_text("x")
    with pytest.raises(DataError, match=r"voc\.zip cannot be staged into .*not a zip file"):
        local_root((tmp_path / "voc.zip").as_uri())


def test_an_archive_cannot_write_outside_its_folder(tmp_path, cache):
    with zipfile.ZipFile(tmp_path / "voc.zip", "w") as archive:
        archive.writestr("a.txt", "a")
        archive.writestr("../outside.txt", "x")
    local_root((tmp_path / "voc.zip").as_uri())
    assert not list(tmp_path.rglob("outside.txt"))


def test_digits_take_no_uri():
    data = {"name": "digits", "root": "s3://bucket/digits", "crop": 32, "batch_size": 2, "holdout": {"images": 1}}
    with pytest.raises(ConfigError, match=r"data\.root = s3://bucket/digits: digits is made on every node"):
        open_data(TrainConfig.model_validate({"data": data, "method": {"name": "fixmatch"}}).data, final=False)


def test_a_missing_pyarrow_is_said_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"data\.root = s3://bucket/voc: object storage needs pyarrow"):
        open_uri("s3://bucket/voc", key="data.root")
