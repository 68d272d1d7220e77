"""What config fields depend on, against training: dead keys change no bit of what is scored, live ones do."""

from typing import Literal, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError

from benchmarks.helpers.method_settings import SETTINGS, stages
from tests.trainers.methods.test_every_method import KINDS, quick_ones
from tests.trainers.runs import same_tensors, tiny
from trainers.common.config_keys import set_dotted
from trainers.common.depends_on import Above, OnlyIf
from trainers.config import TrainConfig
from trainers.dead_keys import conditions, dead_keys, normal_form, refused_keys, value_at, without_refused
from trainers.loop.run import Run
from trainers.methods.registry import BUILDERS

ON = ("inter-pixel loss alone", "as the defaults")
VIEWS_OFF = {"jitter_p": 0, "blur_p": 0, "cutmix_p": 0}
BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101")


def config(name, method, *, steps=2, **sections):
    made = tiny(schedule={"epochs": 1, "steps_per_epoch": steps}, optim={"lr": 0.05}, **sections).model_dump(
        mode="json"
    )
    made["method"] = {"name": name, **method}
    count = stages(made["method"])
    if count > 1:
        made["schedule"]["epochs"] = max(count, 3)
        made["data"]["draw"] = {"labelled": 230}  # leaves few images to label
    return TrainConfig.model_validate(made)


def variants(name):
    """Configs by name: parts off without and with the inter-pixel loss, and as the defaults are."""
    ramp = {"warmup_fraction": 0, "tau": 0.05}
    return {
        "switched off": config(name, SETTINGS[name].off, views=VIEWS_OFF, interpixel={"alpha": 0}),
        "inter-pixel loss alone": config(name, SETTINGS[name].off, views=VIEWS_OFF, interpixel={"alpha": 1, **ramp}),
        "as the defaults": config(name, SETTINGS[name].short, interpixel={"alpha": 1, **ramp, "warmup_epochs": 0}),
    }


def trained(made, folder):
    """Weights and statistics of the network that is scored, after a few steps."""
    run = Run(made, folder)
    try:
        for epoch in range(made.schedule.epochs):
            run.train_epoch(epoch, None)
        scored = run.method.networks()[run.method.eval_network]
        return {key: value.clone() for key, value in scored.state_dict().items()}
    finally:
        run.close()


def another(annotation, value):
    """Values other than ``value`` for a field."""
    if isinstance(value, bool):
        return [not value]
    if get_origin(annotation) is Literal:
        return [one for one in get_args(annotation) if one != value]
    if isinstance(value, int):
        return [2 * value or 1, value + 1, value - 1]
    if isinstance(value, float):
        return [value * 0.5 if value else 0.05, value + 0.05]
    if isinstance(value, tuple):
        return [[*value, 1]]
    if isinstance(value, dict):
        return [{**value, "another": 1}]
    if isinstance(value, str):
        return ["frequency"]  # loss.class_weights, which may be a list too; model.encoder, which may be any name
    return [{"thresh": 0.6, "min_kept": 10}, 1.0, 3]


def changed(made, names):
    """The config with every one of these keys at another value."""
    data = made.model_dump(mode="json")
    for name in names:
        *parents, last = name.split(".")
        section = value_at(made, ".".join(parents)) if parents else made
        for value in another(type(section).model_fields[last].annotation, getattr(section, last)):
            trial = made.model_dump(mode="json")
            set_dotted(trial, name, value)
            try:
                TrainConfig.model_validate(trial)
            except ValidationError:
                if not name.endswith(("_min", "_max")):
                    continue
            set_dotted(data, name, value)
            break
        else:
            raise AssertionError(f"no other value for {name}")
    return TrainConfig.model_validate(data)


def changeable(made):
    """The dead keys that are no sections, without the one that another dead key's value refuses (`interpixel.t2_scale`)
    and without GCT's `flaw_scale`, which cancels out with `rescale` but for an epsilon."""
    dead = dead_keys(made)
    together = {"method.flaw_scale"} | ({"interpixel.t2_scale"} if "interpixel.distance" in dead else set())
    return [name for name in dead if name not in together and not isinstance(value_at(made, name), BaseModel)]


@pytest.mark.parametrize("name", quick_ones(SETTINGS, KINDS - {"stpp", "dmt", "dsbn"}))
@pytest.mark.parametrize("parts", ["switched off", *(pytest.param(one, marks=pytest.mark.slow) for one in ON)])
def test_dead_keys_change_no_bit_of_the_network_that_is_scored(name, parts, tmp_path):
    made = variants(name)[parts]
    dead = changeable(made)
    other = changed(made, dead)
    assert all(value_at(made, key) != value_at(other, key) for key in dead)
    assert same_tensors(trained(made, tmp_path / "a"), trained(other, tmp_path / "b")), dead


def test_every_declared_dependency_of_a_method_is_tried_above():
    assert set(SETTINGS) == set(BUILDERS)
    for name in SETTINGS:
        found = [(set(dead_keys(made)), conditions(made)) for made in variants(name).values()]
        declared = {key for _, marks in found for key, every in marks.items() if every and key.startswith("method.")}
        missed = declared - set.union(*(dead for dead, _ in found))
        # ST and ST++ share cutout_p: one of the two has it off. ohem depends on the loss (test_labelled_loss_run).
        assert missed <= {"method.cutout_p", "method.ohem"}, (name, missed)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("unimatch", "method.conf_thresh"),
        ("unimatch", "interpixel.tau"),
        ("unimatch", "interpixel.domain"),
        ("meanteacher", "method.ema_decay"),
        ("cct", "method.vat_eps"),
        ("gct", "method.flaw_thresh"),
        ("st", "views.jitter_p"),
        *(
            pytest.param(*one, marks=pytest.mark.slow)
            for one in (
                ("unimatch", "views.cutmix_area_max"),
                ("unimatch", "views.brightness"),
                ("unimatch_v2", "method.conf_thresh"),
                ("unimatch_v2", "method.complementary_dropout"),
                ("unimatch_v2", "method.dropout"),
                ("unimatch_v2", "method.clean_share"),
                ("unimatch_v2", "method.strong_views"),
                ("cct", "method.feature_noise"),
                ("classmix", "method.class_fraction"),
                ("cps", "method.cps_weight"),
                ("ucc", "method.reweight"),
                ("psmt", "method.vat_eps"),
                ("pseudoseg", "method.fusion"),
                ("advsemseg", "method.discriminator_lr"),
                ("s4gan", "method.discriminator_dropout"),
            )
        ),
    ],
)
def test_a_key_whose_conditions_hold_changes_the_network_that_is_scored(name, key, tmp_path):
    method = {
        "unimatch": {"conf_thresh": 0.2},
        "unimatch_v2": {"conf_thresh": 0.2, "ema_decay": 0.5},
        "meanteacher": {"ema_decay": 0.4, "ramp_epochs": 0},
        "psmt": {"warmup_passes": 0, "ramp": 0},
        "cct": {"ramp": 0},
        "st": {"scales": [1.0]},
        "ucc": {"copy_paste_p": 0},
        "advsemseg": {"labelled_adversarial_weight": 1, "discriminator_width": 4},
        "s4gan": {"feature_matching_weight": 1, "discriminator_width": 4},
    }
    loss = {"alpha": 1, "tau": 0.12, "warmup_fraction": 0}
    made = config(name, method.get(name, {}), steps=3, interpixel=loss)
    assert key not in dead_keys(made)
    assert not same_tensors(trained(made, tmp_path / "a"), trained(changed(made, [key]), tmp_path / "b"))


def test_a_key_that_depends_on_a_dead_key_is_dead():
    made = tiny(interpixel={"alpha": 0, "distance": "kl"})
    assert "interpixel.domain" in dead_keys(made)
    made = config("cct", {"consistency_weight": 0}, interpixel={"alpha": 0})
    assert {"method.vat", "method.vat_eps"} <= set(dead_keys(made))


def test_the_domain_is_dead_under_the_correlation_alone():
    for distance, dead in (("kl", False), ("cr", True)):
        made = tiny(interpixel={"alpha": 1, "distance": distance})
        assert ("interpixel.domain" in dead_keys(made)) is dead


def test_the_teachers_decay_is_dead_where_the_student_teaches():
    for teacher, dead in (("shared", True), ("ema", False)):
        made = tiny(method={"name": "fixmatch", "teacher": teacher})
        assert ("method.ema_decay" in dead_keys(made)) is dead


def test_a_warm_up_in_epochs_makes_the_fraction_dead():
    made = tiny(interpixel={"alpha": 1, "warmup_epochs": 2})
    assert str(dead_keys(made)["interpixel.warmup_fraction"]) == "interpixel.warmup_epochs is null"


def test_configs_that_differ_in_dead_keys_have_one_normal_form():
    first = tiny(interpixel={"alpha": 0, "tau": 0.3, "temperature": 8}, method={"ema_decay": 0.9})
    second = tiny(interpixel={"alpha": 0, "distance": "cr", "warmup_epochs": 3})
    assert first != second
    assert normal_form(first) == normal_form(second) == normal_form(normal_form(first))


def test_a_live_key_stays_in_the_normal_form():
    made = tiny(interpixel={"alpha": 1, "tau": 0.3}, method={"conf_thresh": 0.4})
    assert normal_form(made).interpixel.tau == 0.3
    assert normal_form(made).method.conf_thresh == 0.4


def test_what_a_change_makes_refused_is_left_out_and_what_was_given_beside_it_is_not():
    data = {"interpixel": {"distance": "cr", "t2_scale": True}}
    without_refused(data, ["interpixel.distance"])
    assert data == {"interpixel": {"distance": "cr"}}
    both = {"interpixel": {"distance": "cr", "t2_scale": True}}
    without_refused(both, ["interpixel.distance", "interpixel.t2_scale"])
    without_refused(both, ["interpixel.alpha"])
    assert both["interpixel"]["t2_scale"] is True


def test_what_an_earlier_version_took_and_is_refused_now_is_named_with_what_it_depends_on():
    assert refused_keys({"interpixel": {"distance": "cr", "t2_scale": True}}) == {
        "interpixel.t2_scale": {"interpixel.distance"}
    }
    assert refused_keys({"interpixel": {"distance": "cr", "t2_scale": False}}) == {}
    assert refused_keys({"interpixel": {"t2_scale": True}, "method": None}) == {}


def test_true_is_not_one_in_a_dependency_and_none_is_not_above_a_number():
    from trainers.common.depends_on import allows

    assert allows(True, True)
    assert not allows(True, 1)
    assert not allows(Above(0), None)
    assert not allows(Above(0), True)
    assert allows(Above(0), 1e-9)


def test_a_condition_reads_as_a_sentence():
    condition = OnlyIf({"teacher": "ema"}, {"interpixel.alpha": Above(0), "flip": True}).within("method.")
    assert str(condition) == "method.teacher is ema, or interpixel.alpha is above 0 and method.flip is true"
