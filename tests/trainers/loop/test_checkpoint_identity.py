"""Which checkpoints a run goes on from: its own, also where an earlier version wrote it and knew fewer keys."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainers.runs import rows, tiny
from trainers.common.errors import CheckpointError
from trainers.config import TrainConfig
from trainers.data.earlier import read_otherwise
from trainers.data.layout import Item
from trainers.loop.fit import fit
from trainers.loop.run_identity import NOT_BY_DEFAULT, changed, identity

EARLIER = json.loads((Path(__file__).parent / "earlier_identities.json").read_text())
"""As commit 76f6436 wrote them for `config` below, by method."""
SPLIT = "0123456789ab"


def config(method="unimatch", **sections):
    data = {"name": "folder", "root": "/data", "num_classes": 3, "labelled": "l.txt", "unlabelled": "u.txt"}
    data |= {"crop": 64, "batch_size": 4, "holdout": {"images": 2}}
    return TrainConfig.model_validate(
        {**sections, "data": {**data, **sections.get("data", {})}, "method": {"name": method}}
    )


@pytest.mark.parametrize("method", ["unimatch", "supervised", "cps"])
def test_a_checkpoint_of_an_earlier_version_is_gone_on_with_where_new_keys_are_at_their_defaults(method):
    assert changed(EARLIER[method], config(method), split_hash=SPLIT) == []


@pytest.mark.parametrize("method", ["u2pl", "ael"])
def test_where_the_default_is_not_what_was_done_before_the_keys_are_named(method):
    named = {one.partition(":")[0] for one in changed(EARLIER[method], config(method), split_hash=SPLIT)}
    assert named
    assert named <= NOT_BY_DEFAULT


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({"views": {"cutmix_boxes": 3}}, "views.cutmix_boxes: None there, 3 here"),
        ({"seeds": {"init": 7}}, "seeds.init: None there, 7 here"),
        ({"data": {"label_map": {0: 0}}}, "data.label_map.0: None there, 0 here"),
        ({"optim": {"lr": 0.5}}, "optim.lr: 0.001 there, 0.5 here"),
        ({"seed": 3}, "seed: 0 there, 3 here"),
    ],
)
def test_a_key_that_is_set_apart_from_its_default_is_named_with_both_values(sections, named):
    found = changed(EARLIER["unimatch"], config(**sections), split_hash=SPLIT)
    assert len(found) == 1
    assert found[0].startswith(named)


def leaves(tree, path=()):
    for key, value in tree.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))


def without(tree, path):
    found = copy.deepcopy(tree)
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return found


@pytest.mark.parametrize("method", sorted(EARLIER))
def test_any_key_may_be_missing_that_has_a_default_and_no_other(method):
    run = config(method)
    ours = identity(run, split_hash=SPLIT)
    given = set(leaves(run.model_dump(mode="json", exclude_defaults=True)))
    for path in leaves(ours["config"]):
        lacking = {**ours, "config": without(ours["config"], path)}
        differs = changed(lacking, run, split_hash=SPLIT)
        inner = {one for one in leaves(ours["config"]) if one[: len(path)] == path}
        values = inner - containers(ours["config"])
        may = not (values & given or any(".".join(one) in NOT_BY_DEFAULT for one in values))
        assert (differs == []) == may, path


def containers(tree):
    return {path for path in leaves(tree) if isinstance(value_at(tree, path), dict)}


def value_at(tree, path):
    for key in path:
        tree = tree[key]
    return tree


@pytest.mark.parametrize("exif", ["apply", "ignore"])
def test_whether_orientations_are_applied_is_left_to_the_files(exif):
    assert changed(EARLIER["unimatch"], config(data={"exif": exif}), split_hash=SPLIT) == []


def test_keys_that_no_curve_depends_on_are_left_out_of_earlier_identities_too():
    theirs = copy.deepcopy(EARLIER["unimatch"])
    theirs["config"]["data"]["cache_gb"] = 8.0
    assert changed(theirs, config(data={"cache_gb": 1}), split_hash=SPLIT) == []


def aged(folder, *, drop=(("data", "exif"), ("data", "value_range"), ("data", "label_map"), ("seeds",))):
    """Make a run's checkpoints those of a version that did not know these keys."""
    for path in (folder / "checkpoints").glob("*.pt"):
        state = torch.load(path, weights_only=True)
        theirs = json.loads(state["identity"])
        for keys in drop:
            theirs["config"] = without(theirs["config"], keys)
        torch.save({**state, "identity": json.dumps(theirs)}, path)


SHORT = {"epochs": 2, "steps_per_epoch": 1}


def test_a_run_goes_on_from_an_earlier_version_as_from_its_own_checkpoint(tmp_path):
    class Stop(Exception):
        pass

    def stop(record):
        raise Stop

    for name in ("own", "earlier"):
        with pytest.raises(Stop):
            fit(tiny(schedule=SHORT), tmp_path / name, callbacks=[stop])
    aged(tmp_path / "earlier")
    for name in ("own", "earlier"):
        fit(tiny(schedule=SHORT), tmp_path / name)
    assert rows(tmp_path / "earlier") == rows(tmp_path / "own")
    state = torch.load(tmp_path / "earlier" / "checkpoints" / "last.pt", weights_only=True)
    assert json.loads(state["identity"])["config"]["data"]["exif"] == "apply"


def test_a_file_that_earlier_versions_read_otherwise_is_named(tmp_path, monkeypatch):
    fit(tiny(schedule=SHORT), tmp_path)
    aged(tmp_path)
    monkeypatch.setattr(
        "trainers.loop.checkpoint.read_otherwise", lambda items, exif: "a.jpg by its EXIF orientation (6)"
    )
    with pytest.raises(CheckpointError, match=r"data\.exif: apply here; .*a\.jpg by its EXIF orientation \(6\)"):
        fit(tiny(schedule=SHORT), tmp_path)


def stored(path, pixels, orientation=1):
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return Item(image=path)


FLAT, DEEP = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint16)


@pytest.mark.parametrize(
    ("name", "pixels", "orientation", "exif", "otherwise"),
    [
        ("a.jpg", FLAT, 1, "apply", None),
        ("a.jpg", FLAT, 6, "apply", "EXIF"),
        ("a.jpg", FLAT, 6, "ignore", None),
        ("a.png", FLAT, 3, "apply", "EXIF"),
        ("a.tif", FLAT, 6, "apply", None),
        ("a.tif", FLAT, 6, "ignore", "EXIF"),
        ("a.png", DEEP, 1, "apply", "depth"),
    ],
)
def test_what_earlier_versions_read_otherwise_is_told_by_the_header(
    tmp_path, name, pixels, orientation, exif, otherwise
):
    found = read_otherwise([stored(tmp_path / name, pixels, orientation)], exif=exif)
    assert (found is None) == (otherwise is None)
    assert otherwise is None or otherwise in found


def test_weights_that_do_not_fit_are_an_error_that_names_the_folder(tmp_path):
    fit(tiny(schedule=SHORT), tmp_path)
    path = tmp_path / "checkpoints" / "last.pt"
    state = torch.load(path, weights_only=True)
    name = next(iter(state["student"]))
    state["student"][name] = state["student"][name][:1]
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=rf"{tmp_path.name}.*do not fit"):
        fit(tiny(schedule=SHORT), tmp_path)
