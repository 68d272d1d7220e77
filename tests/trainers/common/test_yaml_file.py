import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainers.runs import tiny
from trainers.common.config_keys import leaves, set_dotted
from trainers.common.errors import ConfigError
from trainers.common.yaml_file import dump, load, parse, parse_value, read_text, validate
from trainers.config import OptimConfig, ScheduleConfig, TrainConfig

HEAD = "data: {name: digits, crop: 32, batch_size: 2}\nmethod: {name: unimatch}\n"


@given(
    lr=st.floats(1e-12, 1e3),
    decay=st.floats(0, 1),
    seed=st.integers(0, 2**31 - 1),
    clip=st.none() | st.floats(1e-6, 1e6),
    weights=st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1),
    alpha=st.floats(0, 1e6),
)
@settings(deadline=None, max_examples=60)
def test_a_config_written_and_read_again_is_the_same(lr, decay, seed, clip, weights, alpha):
    config = tiny(
        optim={"lr": lr, "weight_decay": decay, "clip_norm": clip},
        model={"weights": weights},
        interpixel={"alpha": alpha},
        seed=seed,
    )
    assert parse(dump(config), TrainConfig) == config


@pytest.mark.parametrize("text", ["1e-4", '"1e-4"', "1E-4", "0.0001", "1.0e-4"])
def test_a_number_is_a_number_however_it_is_written(text):
    assert parse(HEAD + f"optim: {{lr: {text}}}\n", TrainConfig).optim.lr == 1e-4


@pytest.mark.parametrize(("key", "text"), [("lr", "fast"), ("lr", "true"), ("lr", "[1]"), ("lr", "null")])
def test_what_is_no_number_is_refused(key, text):
    with pytest.raises(ConfigError, match=rf"cfg.yaml:1: {key}: .*number"):
        parse(f"{key}: {text}\n", OptimConfig, source="cfg.yaml")


@pytest.mark.parametrize("text", ["1.5", "true", "many"])
def test_what_is_no_whole_number_is_refused(text):
    with pytest.raises(ConfigError, match=r"cfg.yaml:1: epochs: .*integer"):
        parse(f"epochs: {text}\n", ScheduleConfig, source="cfg.yaml")


def test_an_unknown_key_names_file_line_and_the_nearest_valid_key(tmp_path):
    file = tmp_path / "cfg.yaml"
    file.write_text(HEAD + "optim:\n  lr: 0.1\n  weight_dekay: 0\n")
    with pytest.raises(ConfigError) as caught:
        load(file, TrainConfig)
    assert f'{file}:5: optim.weight_dekay: unknown key; did you mean "weight_decay"?' in str(caught.value)


def test_a_key_of_another_method_is_unknown_and_the_methods_own_are_listed():
    with pytest.raises(ConfigError, match=r"method.conf_thresh: unknown key.*allowed: name, ohem"):
        parse(
            "data: {name: digits, crop: 32, batch_size: 2}\nmethod: {name: supervised, conf_thresh: 0.9}\n", TrainConfig
        )


def test_an_unknown_method_names_the_nearest_one():
    with pytest.raises(ConfigError, match=r':2: method.name: "unimach" is unknown; did you mean "unimatch"\?'):
        parse(HEAD.replace("unimatch", "unimach"), TrainConfig, source="cfg.yaml")


def test_several_faults_are_told_together():
    with pytest.raises(ConfigError) as caught:
        parse(HEAD + "optim: {lr: -1}\nseed: x\nmodle: {}\n", TrainConfig, source="cfg.yaml")
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["optim.lr", "seed", "modle"]


def test_a_missing_section_is_named():
    with pytest.raises(ConfigError, match=r"cfg.yaml: data: missing"):
        parse("method: {name: unimatch}\n", TrainConfig, source="cfg.yaml")


def test_a_key_that_stands_twice_is_refused_with_its_line():
    with pytest.raises(ConfigError, match=r"cfg.yaml:2: not valid YAML: .*duplicate key"):
        parse("lr: 1\nlr: 2\n", OptimConfig, source="cfg.yaml")


def test_broken_yaml_is_refused_with_its_line():
    with pytest.raises(ConfigError, match=r"cfg.yaml:\d+: not valid YAML"):
        parse("lr: [1\nname: x: y\n", OptimConfig, source="cfg.yaml")


def test_a_missing_file_names_the_nearest_one(tmp_path):
    (tmp_path / "digits.yaml").touch()
    with pytest.raises(ConfigError, match=r'digts.yaml: no such file; did you mean "digits.yaml"\?'):
        load(tmp_path / "digts.yaml", TrainConfig)


def test_merge_keys_are_read():
    data, _ = read_text("base: &base {lr: 1}\noptim:\n  <<: *base\n  name: sgd\n", source="x")
    assert data["optim"] == {"lr": 1, "name": "sgd"}


def test_a_dotted_name_sets_a_nested_value_and_makes_sections_on_its_way():
    data = {"optim": {"lr": 1}}
    set_dotted(data, "optim.lr", 2)
    set_dotted(data, "model.backbone", "small")
    assert data == {"optim": {"lr": 2}, "model": {"backbone": "small"}}


def test_a_dotted_name_through_a_value_is_refused():
    with pytest.raises(ConfigError, match=r"seed is a value \(3\), not a section"):
        set_dotted({"seed": 3}, "seed.x", 1)


def test_leaves_reach_into_every_method_and_layout():
    found = leaves(TrainConfig)
    assert {"method.conf_thresh", "method.name", "data.num_classes", "data.root", "interpixel.tau", "seed"} <= set(
        found
    )
    assert "optim" not in found


def test_an_unknown_choice_names_the_nearest_one_and_all_that_are_allowed():
    with pytest.raises(ConfigError) as caught:
        parse(HEAD + "model: {backbone: resnet51, output_stride: 4}\n", TrainConfig, source="cfg.yaml")
    assert str(caught.value).splitlines() == [
        "cfg.yaml:3: model.backbone: 'resnet51' is unknown; did you mean \"resnet50\"?; "
        "allowed: small, resnet18, resnet34, resnet50, resnet101",
        "cfg.yaml:3: model.output_stride: 4 is unknown; allowed: 8, 16",
    ]


@pytest.mark.parametrize("text", ["method: unimatch", "method:", "method: [1]"])
def test_a_value_in_the_place_of_a_section_is_refused_as_such(text):
    with pytest.raises(ConfigError, match=r"cfg.yaml:2: method: expected a section of keys and values; got "):
        parse(f"data: {{name: digits, crop: 32, batch_size: 2}}\n{text}\n", TrainConfig, source="cfg.yaml")


@pytest.mark.parametrize(("text", "found"), [("", "nothing"), ("- 1\n", "a list"), ("1\n", "one value")])
def test_a_file_without_keys_is_refused(text, found):
    with pytest.raises(ConfigError, match=rf"cfg.yaml: expected keys and values at the top, found {found}"):
        parse(text, TrainConfig, source="cfg.yaml")


@pytest.mark.parametrize("text", ["fast", "true", ".nan", ".inf", "nan"])
def test_an_optional_number_is_as_strict_as_any_other(text):
    with pytest.raises(ConfigError, match=r"cfg.yaml:1: clip_norm: .*number"):
        parse(f"clip_norm: {text}\n", OptimConfig, source="cfg.yaml")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "cp1252"])
def test_a_file_in_another_encoding_is_named_with_the_byte_and_the_remedy(tmp_path, encoding):
    (tmp_path / "cfg.yaml").write_bytes("seed: 1  # Größe\n".encode(encoding))
    with pytest.raises(ConfigError, match=r"cfg.yaml: byte 0x\w\w at \d+ is not UTF-8; save the file as UTF-8"):
        load(tmp_path / "cfg.yaml", TrainConfig)


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path, TrainConfig)


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        ("!!python/object/apply:os.system [touch hacked]", "!!python/object/apply:os.system"),
        ("!Ref a", "!Ref"),
        ("!env {HOME: 1}", "!env"),
        ("!!set {x, y}", "!!set"),
        ("!!omap [x: 1]", "!!omap"),
        ("!!binary aGk=", "!!binary"),
    ],
)
def test_a_tag_of_yaml_is_refused_by_name(value, tag):
    with pytest.raises(ConfigError, match=rf"f.yaml(:2)?: the tag {tag} has no meaning here"):
        read_text(f"a: 1\nb: {value}\n", source="f.yaml")
    with pytest.raises(ConfigError, match=f"the tag {tag} has"):
        parse_value(value, source="--set b")


def test_a_tag_that_says_what_a_value_is_anyway_is_read():
    assert read_text('b: [!!str 5, !!int "5", !!float 5, !!map {x: 1}]', source="f.yaml")[0] == {
        "b": ["5", 5, 5.0, {"x": 1}]
    }


@pytest.mark.parametrize(
    "value",
    ["2026-13-01", "2026-02-30", "2001-12-14t21:59:43-25:00", "1" * 5000, "!!int one", "!!float one", "!!bool maybe"],
)
def test_a_value_that_looks_like_one_of_its_kind_and_is_none_is_refused_by_name(value):
    with pytest.raises(ConfigError, match=r"f\.yaml: a value cannot be read \(.*stands in quotes"):
        read_text(f"a: 1\nb: {value}\n", source="f.yaml")
    with pytest.raises(ConfigError, match="--set b: a value cannot be read"):
        parse_value(value, source="--set b")


@pytest.mark.parametrize("text", ['{0: 1, "0": 2}', '{null: 1, "None": 2}', '{x: {1.5: 1, "1.5": 2}}'])
def test_a_key_that_stands_twice_with_and_without_quotes_is_refused(text):
    with pytest.raises(ConfigError, match=r"f\.yaml:2: the key .* stands 2 times"):
        read_text(f"a: 1\nb: {text}\n", source="f.yaml")


def test_brackets_without_end_are_refused():
    with pytest.raises(ConfigError, match="too deep to be read"):
        read_text("a: " + "[" * 5000, source="f.yaml")


times = st.from_regex(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d)?", fullmatch=True)


@given(text=times | st.text(alphabet="a10: -[]{}!&*#|>'\"\\U%@`\n\t,?~.", max_size=30))
def test_any_text_is_data_or_a_named_error(text):
    with contextlib.suppress(ConfigError):
        read_text(text, source="f.yaml")
    with contextlib.suppress(ConfigError):
        parse_value(text, source="--set a")


nested = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["C"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc.1- ", min_size=1), inner, max_size=3),
    max_leaves=8,
)


@given(provenance=st.dictionaries(st.text("abc_1", min_size=1), nested, max_size=4))
@settings(max_examples=80)
def test_provenance_of_any_shape_survives_writing_and_reading(provenance):
    config = tiny(provenance=provenance)
    assert parse(dump(config), TrainConfig) == config


def test_an_unknown_key_that_another_section_has_is_named_there():
    data = {"method": {"name": "unimatch", "class_weights": "frequency"}}
    wanted = (
        r'method\.class_weights: unknown key; did you mean "loss\.class_weights"\? it is a key of method\.name: alonso'
    )
    with pytest.raises(ConfigError, match=wanted):
        validate(TrainConfig, data, source="a.yaml")


def test_an_unknown_key_that_another_method_has_names_the_method():
    data = {"method": {"name": "supervised", "feature_weight": 1}}
    with pytest.raises(
        ConfigError, match=r"method\.feature_weight: unknown key; it is a key of method\.name: unimatch"
    ):
        validate(TrainConfig, data, source="a.yaml")
