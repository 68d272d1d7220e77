"""What each paper's preset comes to in a run, against what paper and released code come to (`published.yaml`)."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML
from torch import nn

from trainers.cli.train import load
from trainers.data.layout import Item
from trainers.data.loader import TrainLoader
from trainers.data.open import OpenData
from trainers.data.views import draw_box
from trainers.loop.lr_schedule import lr_factors
from trainers.loop.method_context import make_context
from trainers.loop.optim import build_optimizer, set_lr
from trainers.loop.process_group import current
from trainers.loop.stages import stage_epochs
from trainers.losses.ramps import warmup_steps
from trainers.methods.registry import build_method

PAPER = Path(__file__).parents[3] / "presets" / "paper"
NAMES = sorted(path.stem for path in PAPER.glob("*.yaml"))
PUBLISHED = YAML(typ="safe").load(Path(__file__).with_name("published.yaml"))
ROWS = sorted(name for name, row in PUBLISHED.items() if row is not None)
SIDE = 48


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    """Every preset as a training config, with a network that is made in no time."""
    folder = tmp_path_factory.mktemp("presets")

    def one(name):
        path = folder / f"{name}.yaml"
        path.write_text(f"base: {PAPER}/{name}.yaml\ndata: {{name: digits}}\n")
        return load(path, ["model.backbone=small", "model.size=tiny", "model.weights=none"])

    return {name: one(name) for name in NAMES}


@pytest.fixture(scope="module")
def runs(configs):
    """`run_of` every row, made once."""
    return {name: run_of(configs[name], PUBLISHED[name]) for name in ROWS}


def items(kind, count):
    return tuple(Item(image=Path(kind) / str(n), mask=None) for n in range(count))


def run_of(config, row):
    """[epochs, steps of an epoch] of every stage, and what the last one asks for."""
    labelled, unlabelled = row["lists"]
    context = make_context(config, num_classes=21, process=current("cpu"), labelled=labelled, unlabelled=unlabelled)
    stages = build_method(config.method, context).stages()
    lists = OpenData(
        classes=("c",) * 21,
        labelled=items("labelled", labelled),
        unlabelled=items("unlabelled", unlabelled),
        holdout=(),
        val=(),
        split_hash="",
    )
    epochs = stage_epochs(stages, config.schedule.epochs)
    steps = [TrainLoader(lists, config, stage.needs).steps_per_epoch for stage in stages]
    return [[len(one), count] for one, count in zip(epochs, steps, strict=True)], stages[-1].needs


def test_every_preset_is_in_the_table_of_what_was_published_and_ends_with_its_source():
    assert set(NAMES) == set(PUBLISHED)
    for name in NAMES:
        comments = [line for line in (PAPER / f"{name}.yaml").read_text().splitlines() if line.startswith("# ")]
        last = " ".join(comments[1:])
        assert "Source: " in last, name
        assert "Cannot express: " in last.partition("Source: ")[2], name
    for name in ROWS:
        repository = PUBLISHED[name]["source"].split(",")[0]
        assert repository in (PAPER / f"{name}.yaml").read_text() or "paper" in repository, name


@pytest.mark.parametrize("name", ROWS)
def test_every_stage_has_the_published_steps(runs, name):
    assert runs[name][0] == PUBLISHED[name]["steps"]


@pytest.mark.parametrize("name", ROWS)
def test_crop_batch_scale_and_evaluation_are_the_published_ones(configs, name):
    config, row = configs[name], PUBLISHED[name]
    assert config.data.crop == row["crop"]
    assert config.data.batch_size == row["devices"] * row["per_device"]
    assert [config.views.scale_min, config.views.scale_max] == row["scale"]
    assert {"mode": config.evaluation.mode, "scale": config.evaluation.scale} == row["evaluation"]


@pytest.mark.parametrize("name", ROWS)
def test_the_supervised_loss_is_the_published_one(configs, name):
    ohem = getattr(configs[name].method, "ohem", None)
    assert ("ce" if ohem is None else [ohem.thresh, ohem.min_kept]) == PUBLISHED[name]["loss"]


def effective(row):
    """Rate and weight decay of SGD that, on the mean loss, makes the same steps as the published code."""
    devices = row["devices"]
    rate = row["rate"] * (devices if row.get("rate_times_devices") else 1)
    divided = devices if row.get("loss_over_devices") else 1
    return rate / divided, row["decay"] * divided


def test_sgd_on_divided_losses_is_sgd_at_the_effective_rate_and_decay():
    row = PUBLISHED["cps"]
    rate, decay = effective(row)
    generator = torch.Generator().manual_seed(0)
    start, target = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    theirs, ours = (nn.Parameter(start.clone()) for _ in range(2))
    configured = torch.optim.SGD([theirs], lr=row["rate"] * row["devices"], momentum=0.9, weight_decay=row["decay"])
    plain = torch.optim.SGD([ours], lr=rate, momentum=0.9, weight_decay=decay)
    for _ in range(20):
        for weights, optimizer, divisor in ((theirs, configured, row["devices"]), (ours, plain, 1)):
            optimizer.zero_grad()
            (((weights - target) ** 2).sum() / divisor).backward()
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("done", [0, 0.5, 0.9])
def test_rates_and_decay_are_the_effective_ones_of_the_published_code(configs, name, done):
    config, row = configs[name], PUBLISHED[name]
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = build_optimizer(network, network[0], config.optim)
    epochs, steps = row["steps"][-1]
    total = epochs * steps
    set_lr(optimizer, lr_factors(config.schedule, steps_per_epoch=steps, total=total)[int(done * total)])
    rate, decay = effective(row)
    expected = rate * (1 - int(done * total) / total) ** row["power"]
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([expected, expected * row["head"]])
    assert [group["weight_decay"] for group in optimizer.param_groups] == pytest.approx([decay] * 2)


def warm_ups(config, row):
    """Lengths in steps by name, as the method counts them."""
    (epochs, steps), method = row["steps"][-1], config.method
    total, labelled = epochs * steps, row["lists"][0]
    found = {
        "meanteacher": lambda: {"consistency": method.ramp_epochs * steps},
        "cct": lambda: {"consistency": method.ramp * total},
        "gct": lambda: {"consistency": method.ramp_epochs * steps},
        "cac": lambda: {"labelled_only": method.supervised_epochs * steps},
        "u2pl": lambda: {"labelled_only": method.supervised_epochs * steps},
        "alonso": lambda: {
            "bank": method.bank_start * total,
            "contrast": method.contrast_start * total,
            "pseudo": method.pseudo_start * total,
        },
        "psmt": lambda: {
            "labelled_only": math.ceil(method.warmup_passes * labelled / config.data.batch_size),
            "consistency": method.ramp * total,
        },
        "advsemseg": lambda: {"self_training": method.self_training_start * total},
        "s4gan": lambda: {"presence_consistency": method.presence_start * total} if method.multi_label else {},
    }.get(method.name, dict)()
    if config.interpixel.alpha > 0:
        length = {"fraction": config.interpixel.warmup_fraction, "epochs": config.interpixel.warmup_epochs}
        found["interpixel"] = warmup_steps(**length, steps_per_epoch=steps, total_steps=total)
    return found


@pytest.mark.parametrize("name", ROWS)
def test_warm_ups_have_the_published_steps(configs, name):
    row = PUBLISHED[name]
    assert warm_ups(configs[name], row) == pytest.approx(row["warmup"], rel=0.005)


@pytest.mark.parametrize("name", ROWS)
def test_the_methods_own_settings_are_the_published_ones(configs, name):
    expected = PUBLISHED[name]["method"]
    assert {key: configs[name].method.model_dump(mode="json")[key] for key in expected} == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_warm_up_laid_over_a_preset_is_the_one_that_counts(configs, name):
    assert configs[name].interpixel.warmup_epochs is None  # given, it would take the fraction's place


def published_share(rng, box):
    """Share of the crop that a published mask pastes: boxes with log-uniform sides anywhere inside, a pixel under an
    even number of them left as it was."""
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    if rng.random() < box["p"]:
        for _ in range(box["boxes"]):
            area = rng.uniform(*box["area"])
            height = math.exp(rng.uniform() * math.log(area))
            sides = [round(SIDE * side / math.sqrt(box["boxes"])) for side in (height, area / height)]
            top, left = (int(rng.integers(SIDE - side + 1)) for side in sides)
            mask[top : top + sides[0], left : left + sides[1]] ^= True
    return mask.mean()


@pytest.mark.parametrize("name", ROWS)
def test_boxes_paste_as_much_as_the_published_ones(configs, runs, name):
    config, box = configs[name], PUBLISHED[name].get("box")
    assert (runs[name][1].mixed > 0) == (box is not None)
    if box is None:
        return
    count = 600
    rng = np.random.default_rng(0)
    ours = np.sort([draw_box(rng, SIDE, views=config.views).double().mean() for _ in range(count)])
    theirs = np.sort([published_share(rng, box) for _ in range(count)])
    assert ours.mean() == pytest.approx(theirs.mean(), abs=0.03)
    assert float((ours > 0).mean()) == pytest.approx(box["p"], abs=0.08)
    for quantile in (0.25, 0.5, 0.75, 0.95):
        if box["p"] == 1:
            assert np.quantile(ours, quantile) == pytest.approx(np.quantile(theirs, quantile), abs=0.04)


def test_the_partners_box_is_from_another_image_but_in_unimatchs_code(configs):
    second = {name for name in ROWS if configs[name].views.cutmix_partner == "second_view" and "box" in PUBLISHED[name]}
    family = {name for name in ROWS if name.startswith(("unimatch", "fixmatch", "ipixmatch"))}
    assert second == {name for name in family if not name.startswith("unimatch_v2")}
