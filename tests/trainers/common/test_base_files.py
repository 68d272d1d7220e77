"""`base:`, and the shipped presets."""

import re
from pathlib import Path

import pytest

from ipix_tune.config.load_study import dump
from ipix_tune.config.load_study import load as load_study
from trainers.cli.train import load
from trainers.common.base_files import overlaid
from trainers.common.errors import ConfigError
from trainers.methods.registry import BUILDERS

PRESETS = Path(__file__).parents[3] / "presets"
OWN = "base: below.yaml\ndata: {name: digits}\noptim: {lr: 0.1}\n"
BELOW = (
    "data: {crop: 32, batch_size: 2, holdout: {images: 4}}\nmethod: {name: unimatch}\noptim: {lr: 0.5, momentum: 0.5}\n"
)


@pytest.fixture
def file(tmp_path):
    (tmp_path / "below.yaml").write_text(BELOW)
    path = tmp_path / "own.yaml"
    path.write_text(OWN)
    return path


def test_what_the_file_does_not_say_comes_from_its_base(file):
    config = load(file, [])
    assert (config.optim.lr, config.optim.momentum, config.data.crop) == (0.1, 0.5, 32)


def test_an_override_lies_over_both(file):
    assert load(file, ["optim.momentum=0.7"]).optim.momentum == 0.7


def test_a_base_may_have_one_of_its_own_beside_itself(file):
    (file.parent / "sub").mkdir()
    (file.parent / "below.yaml").write_text("base: sub/deep.yaml\n" + BELOW)
    (file.parent / "sub" / "deep.yaml").write_text("optim: {weight_decay: 0.25, momentum: 0.1}\n")
    config = load(file, [])
    assert (config.optim.weight_decay, config.optim.momentum) == (0.25, 0.5)


def test_of_several_bases_the_later_lies_over_the_earlier(file):
    (file.parent / "over.yaml").write_text("optim: {momentum: 0.6}\n")
    file.write_text(OWN.replace("below.yaml", "[below.yaml, over.yaml]"))
    assert load(file, []).optim.momentum == 0.6


def test_a_section_of_another_name_replaces_the_one_below():
    below = {"method": {"name": "u2pl", "r_low": 3}, "optim": {"lr": 1}}
    assert overlaid(below, {"method": {"name": "cps"}}) == {"method": {"name": "cps"}, "optim": {"lr": 1}}
    assert overlaid(below, {"method": {"name": "u2pl"}})["method"] == {"name": "u2pl", "r_low": 3}
    assert overlaid({"method": {"conf_thresh": 0.7}}, {"method": {"name": "cps"}})["method"]["conf_thresh"] == 0.7


def test_a_fault_is_told_of_the_file_that_it_is_in(file):
    (file.parent / "below.yaml").write_text(BELOW.replace("momentum: 0.5", "momentum: 5"))
    with pytest.raises(ConfigError, match=r"below\.yaml:3: optim\.momentum: "):
        load(file, [])


@pytest.mark.parametrize(
    ("base", "fault"),
    [
        ("belwo.yaml", r'own\.yaml:1: base: .*belwo\.yaml: no such file; did you mean "below\.yaml"'),
        ("own.yaml", r"own\.yaml:1: base: own\.yaml lies below itself"),
        ("{a: 1}", r"own\.yaml:1: base: expected the path of a YAML file, or a list of them; got {'a': 1}"),
    ],
)
def test_a_base_that_cannot_be_is_refused(file, base, fault):
    file.write_text(OWN.replace("below.yaml", base))
    with pytest.raises(ConfigError, match=fault):
        load(file, [])


STUDY = """\
name: small
trainer:
  base: below.yaml
  data: {name: digits}
search:
  interpixel.alpha: {loguniform: [0.1, 1]}
budget: {trials: 2}
"""


def study(folder):
    (folder / "below.yaml").write_text(BELOW + "schedule: {epochs: 3}\n")
    path = folder / "study.yaml"
    path.write_text(STUDY)
    return path


def test_a_study_is_kept_whole_so_that_its_base_may_change_or_go(tmp_path):
    path = study(tmp_path)
    kept = dump(load_study(path))
    assert "base:" not in kept
    (tmp_path / "kept.yaml").write_text(kept)
    (tmp_path / "below.yaml").unlink()
    assert dump(load_study(tmp_path / "kept.yaml")) == kept
    assert load_study(tmp_path / "kept.yaml").trainer["optim"]["momentum"] == 0.5


def test_what_a_base_fixes_may_be_searched(tmp_path):
    path = study(tmp_path)
    path.write_text(STUDY.replace("interpixel.alpha:", "optim.lr:"))
    assert "lr" not in load_study(path).trainer["optim"]


def test_what_the_study_itself_fixes_may_not(tmp_path):
    path = study(tmp_path)
    text = STUDY.replace("interpixel.alpha:", "optim.lr:")
    path.write_text(text.replace("{name: digits}", "{name: digits}\n  optim: {lr: 1}"))
    with pytest.raises(ConfigError, match=r"optim\.lr is searched and also fixed"):
        load_study(path)


def test_a_fault_in_a_studys_base_names_the_base(tmp_path):
    path = study(tmp_path)
    with (tmp_path / "below.yaml").open("a") as below:
        below.write("interpixel: {tau: 2}\n")
    with pytest.raises(ConfigError, match=r"below\.yaml:5: .*interpixel\.tau"):
        load_study(path)


@pytest.mark.parametrize("method", sorted(BUILDERS))
def test_the_unified_preset_takes_every_method(method, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(f"base: {PRESETS}/unified.yaml\ndata: {{name: digits}}\nmethod: {{name: {method}}}\n")
    config = load(path, [])
    assert (config.method.name, config.data.crop, config.views.cutmix_partner) == (method, 321, "batch")


def test_every_method_has_its_papers_preset():
    assert {path.stem for path in PRESETS.glob("paper/*.yaml")} >= set(BUILDERS)


@pytest.mark.parametrize("preset", sorted(path.stem for path in PRESETS.glob("paper/*.yaml")))
def test_a_papers_preset_is_a_config_but_for_its_data(preset, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(f"base: {PRESETS}/paper/{preset}.yaml\ndata: {{name: digits}}\n")
    method = re.sub("_(cityscapes|ade20k|coco)$", "", preset)
    assert load(path, []).method.name == {"ipixmatch": "unimatch"}.get(method, method)
