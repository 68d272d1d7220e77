"""The text of a first study: a study file with comments, made for one data set and one machine."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from ipix_tune.study.first_settings import Hardware, Settings
from trainers.data.survey.folder import Survey
from trainers.data.survey.parts import Parts

RARE = 0.01
"""Share of the labelled pixels below which a class is called rare."""
PLAIN = re.compile(r"[a-z][a-z0-9_ ]*[a-z0-9]|[0-9]{1,3}")
NO_WORDS = ("true", "false", "yes", "no", "on", "off", "null")
"""Some readers of YAML take these for something else."""
COMMENT_AT = 28
"""Column at which comments begin."""

TEXT = Template("""# $name: a first study, made by
#   $command
# for $machine. Every value may be changed; search_spaces/README.md of ipix-tune says what there is.
# What was seen:
$seen
name: $name

trainer:
  data:
$data
  method:
    name: unimatch          # consistency of weak and strong views; docs/reference/methods.md has the others
  model:
$model
$views  interpixel:
    t2_scale: true          # searched is alpha' = alpha / t^2, whose strength does not depend on t
    resolution: stride4     # about 16 times cheaper, near equal
  optim:
    head_lr_multiplier: $head
  schedule:
$schedule
  evaluation:
$evaluation
  precision:
    amp: $amp

search:
$search

points:                     # tried first: the defaults
$points

scheduler: {name: asha, grace_epochs: $grace, reduction: 3}
sampler: {name: tpe, seed: 0, startup_trials: $startup}
budget: {trials: $trials}
resources: $resources

# ipix-tune confirm studies/$name
# Is the best trial better than the defaults, or lucky? Does the inter-pixel loss help, and do images without labels?
confirm:
  top: 1
  ablate: {interpixel.alpha: 0}
  variants:
    supervised only: {method.name: supervised, interpixel.alpha: 0}
  first_seeds: 3
  max_seeds: $seeds
  delta: 1                  # mIoU: the smallest difference that matters to you
""")


def study_text(
    *,
    name: str,
    survey: Survey,
    parts: Parts,
    settings: Settings,
    machine: Hardware,
    lists: Mapping[str, Path],
    command: str,
) -> str:
    """The study file.

    Args:
        lists: paths of the lists by their key.
        command: that made it.
    """
    dimensions = _dimensions(settings)
    gpus = {"gpus_per_worker": settings.gpus_per_worker} if settings.gpus_per_worker else {}
    return TEXT.substitute(
        name=name,
        command=command,
        machine=machine.words,
        seen="\n".join(f"#   {line}" for line in survey.said),
        data="\n".join(_data(survey, parts, settings, lists)),
        model="\n".join(_model(settings, survey)),
        views="".join(f"{line}\n" for line in _views(settings)),
        head=f"{settings.head_lr_multiplier:g}",
        schedule="\n".join(_schedule(settings)),
        evaluation="\n".join(_evaluation(settings)),
        amp=settings.amp,
        search="\n".join(f"  {key}: {text}" for key, (text, _) in dimensions.items()),
        points="\n".join(f"    {key}: {value}" for key, (_, value) in dimensions.items()).replace("    ", "  - ", 1),
        grace=settings.grace_epochs,
        startup=max(4, settings.trials // 4),
        trials=settings.trials,
        resources=_yaml({"workers": 1, "cpus_per_worker": settings.cpus_per_worker} | gpus),
        seeds=10 if settings.gpus_per_worker else 5,
    )


def _line(key: str, value: Any, comment: str = "", *, level: int = 4) -> str:
    """A key, its value and a comment."""
    text = f"{' ' * level}{key}: {_yaml(value)}"
    return f"{text:<{COMMENT_AT - 1}} # {comment}" if comment else text


def _yaml(value: Any) -> str:
    """The value as one line of YAML, with quotes only where they are needed."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_yaml(key)}: {_yaml(one)}' for key, one in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, str) and PLAIN.fullmatch(value) and value not in NO_WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)


def _data(survey: Survey, parts: Parts, settings: Settings, lists: Mapping[str, Path]) -> list[str]:
    comments = {
        "label_map": "what the masks hold, and its class",
        "bands": "of the images; others than RGB",
        "value_range": "what becomes black and white",
        "exif": "masks were drawn on the pixels as they are stored",
    }
    lines = [_line("name", "folder"), _line("root", str(survey.root)), _line("classes", list(survey.classes))]
    shares = zip(survey.classes, survey.shares, strict=True)
    if rare := [f"{name} {100 * share:.2g} %" for name, share in shares if share < RARE]:
        lines.append(f"    # rare classes, by their share of the labelled pixels: {', '.join(rare)};")
        lines.append("    # trainer.loss: {class_weights: frequency} may help them")
    lines += [_line(key, value, comments[key]) for key, value in survey.keys.items()]
    for key in ("labelled", "unlabelled", "val"):
        if key in lists:
            use = " that are scored once, by the final training" if key == "val" else ""
            lines.append(_line(key, str(lists[key]), f"{len(getattr(parts, key))} images{use}"))
    holdout = {"images": parts.holdout, "source": parts.source}
    return [
        *lines,
        _line("crop", settings.crop),
        _line("batch_size", settings.batch_size, "and as many unlabelled ones"),
        _line("holdout", holdout, "cut off that list; the search is scored on these"),
    ]


def _model(settings: Settings, survey: Survey) -> list[str]:
    small = "a narrow network that a CPU trains in seconds; with a GPU: resnet50"
    scratch = "from scratch; imagenet is better where torchvision has weights and they can be fetched"
    return [
        _line("backbone", settings.backbone, small if settings.backbone == "small" else "or resnet101"),
        _line("weights", settings.weights, scratch if settings.weights == "none" else "torchvision's"),
        *_bands(survey),
    ]


def _bands(survey: Survey) -> list[str]:
    """Of images of other than three bands."""
    if survey.normalised is None:
        return []
    mean, deviation = survey.normalised
    return [
        _line("in_channels", len(mean), "the images' bands"),
        _line("mean", list(mean), "of each band, measured over all images, in 0 .. 1"),
        _line("std", list(deviation)),
    ]


def _views(settings: Settings) -> list[str]:
    """Images that are large beside the crop are made smaller."""
    if settings.scale == 1:
        return []
    return [
        "  views:                    # shares of the image's long side; the images are large beside the crop",
        _line("scale_min", round(0.5 * settings.scale, 3)),
        _line("scale_max", round(2 * settings.scale, 3)),
    ]


def _schedule(settings: Settings) -> list[str]:
    steps = settings.epochs * settings.steps_per_epoch
    return [
        _line("epochs", settings.epochs),
        _line(
            "steps_per_epoch",
            settings.steps_per_epoch,
            f"{steps} steps of {settings.batch_size} + {settings.batch_size} images in all",
        ),
    ]


def _evaluation(settings: Settings) -> list[str]:
    lines = [_line("every", max(1, settings.epochs // 20))]
    if settings.scale != 1:
        lines.append(_line("scale", settings.scale, "images are predicted at this share of their size"))
    return lines


def _dimensions(settings: Settings) -> dict[str, tuple[str, float | str]]:
    """Text and first value of every dimension. There are few, since a few trials on a CPU cannot search many."""
    low, high = settings.lr_range
    few: dict[str, tuple[str, float | str]] = {
        "optim.lr": (f"{{loguniform: [{low:g}, {high:g}], prior: {{center: {settings.lr:g}}}}}", settings.lr),
        "method.conf_thresh": ("{uniform: [0, 0.98], prior: {center: 0.95}}", 0.95),
        "interpixel.alpha": ("{loguniform: [0.01, 10], prior: {center: 0.0625}}", 0.0625),
    }
    if not settings.gpus_per_worker:
        return few
    return few | {
        "interpixel.distance": ("{choice: [kl, cr], prior: {center: kl}}", "kl"),
        "interpixel.temperature": ("{loguniform: [1, 16], prior: {center: 4}}", 4),
        "interpixel.tau": ("{uniform: [0, 0.98], prior: {center: 0.8}}", 0.8),
    }
