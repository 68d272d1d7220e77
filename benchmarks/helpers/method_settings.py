"""One entry for every method: what its tests and its counts on a GPU are made with."""

import functools
import json
from dataclasses import dataclass, field
from typing import Any

Values = dict[str, Any]

SMALL: Values = {
    "data": {"name": "digits", "crop": 32, "batch_size": 2},
    "model": {"backbone": "small", "weights": "none"},
}


@dataclass(frozen=True, kw_only=True)
class MethodSettings:
    """Keys of the section `method`: ``on``, under which a first step does all that the method can, its parts small;
    ``off``, all of its parts switched off that can be; ``short``, without which the defaults train long;
    ``variants``, other sets of ``on`` by a name."""

    on: Values
    off: Values
    short: Values = field(default_factory=dict)
    variants: dict[str, Values] = field(default_factory=dict)


ADVERSARIAL_OFF = {"labelled_adversarial_weight": 0, "unlabelled_adversarial_weight": 0, "self_training_weight": 0}
ONE_SCALE = {"scales": [1.0]}
ONE_ROUND = {**ONE_SCALE, "rounds": 1}

SETTINGS = {
    "supervised": MethodSettings(on={}, off={}),
    "fixmatch": MethodSettings(on={"conf_thresh": 0.1}, off={"unsupervised_weight": 0}),
    "unimatch": MethodSettings(
        on={"conf_thresh": 0.1}, off={"strong1_weight": 0, "strong2_weight": 0, "feature_weight": 0}
    ),
    "unimatch_v2": MethodSettings(on={"conf_thresh": 0.1}, off={"unsupervised_weight": 0, "strong_views": 1}),
    "meanteacher": MethodSettings(on={"ramp_epochs": 1}, off={"consistency_weight": 0}),
    "cutmixseg": MethodSettings(on={"conf_thresh": 0.1}, off={"consistency_weight": 0}),
    "classmix": MethodSettings(on={"conf_thresh": 0.1}, off={"consistency_weight": 0}),
    "cps": MethodSettings(on={}, off={"cps_weight": 0}, variants={"cutmix": {"cutmix": True}}),
    "cct": MethodSettings(
        on={"ramp": 0},
        off={"consistency_weight": 0, "feature_drop": 0, "feature_noise": 0, "dropout": 0, "cutout": 0, "vat": 0},
    ),
    "gct": MethodSettings(
        on={"ramp_epochs": 0, "detector_width": 8},
        off={"consistency_weight": 0, "correction_weight": 0, "detector_weight": 0},
    ),
    "ucc": MethodSettings(on={"copy_paste_p": 1}, off={"cross_weight": 0, "copy_paste_p": 0}),
    "ael": MethodSettings(
        on={"conf_thresh": 0.05, "copy_paste_p": 1},
        off={"consistency_weight": 0, "copy_paste_p": 0, "adaptive_cutmix": False},
    ),
    "u2pl": MethodSettings(
        # alpha0: the entropies next to both thresholds are further from them than rounding, which may move a pixel over
        on={"supervised_epochs": 0, "bank_size": 100, "delta_p": 0.01, "contrast_weight": 1.0, "alpha0": 0.25},
        off={"unsupervised_weight": 0, "contrast_weight": 0, "supervised_epochs": 0, "bank_size": 50},
    ),
    "alonso": MethodSettings(
        on={"quality_thresh": 0, "pseudo_start": 0, "bank_start": 0, "contrast_start": 0, "class_weights": True},
        off={"pseudo_weight": 0, "contrast_weight": 0, "classmix_p": 0, "class_weights": True},
    ),
    "psmt": MethodSettings(
        on={"conf_thresh": 0.1, "ramp": 0, "warmup_passes": 0.1},
        off={"psmt_weight": 0, "warmup_passes": 0, "vat_eps": 0},
        short={"warmup_passes": 0},
        variants={"late": {"conf_thresh": 0.1, "ramp": 0, "warmup_passes": 0}},
    ),
    "st": MethodSettings(on=ONE_SCALE, off={"strong": "none", **ONE_SCALE}, short=ONE_SCALE),
    "stpp": MethodSettings(on={**ONE_SCALE, "labeller": "best"}, off={"cutout_p": 0, **ONE_SCALE}, short=ONE_SCALE),
    "dstcbc": MethodSettings(on={"iterations": 2, "gamma": 1}, off={"iterations": 1}, short={"iterations": 2}),
    "cac": MethodSettings(
        on={"supervised_epochs": 0, "conf_thresh": 0, "overlap_min": 0.5, "samples": 20, "projection_width": 8},
        off={"contrast_weight": 0, "supervised_epochs": 0},
        short={"supervised_epochs": 0},
    ),
    "pc2seg": MethodSettings(
        on={"ramp": 0, "negatives": 20, "projection_width": 8}, off={"consistency_weight": 0, "contrast_weight": 0}
    ),
    "dsbn": MethodSettings(on={**ONE_SCALE, "start_pull": 0.001}, off=ONE_SCALE, short=ONE_SCALE),
    "ecs": MethodSettings(
        on={"start": 0, "ramp": 0, "corrector_width": 8},
        off={"correction_weight": 0, "unsupervised_weight": 0, "start": 0},
    ),
    "dmt": MethodSettings(
        on={
            "iterations": 1,
            "labels_apart": 0.2,
            "unlabelled_batches": 2,
            "agreement_gamma": 1,
            "disagreement_gamma": 1,
        },
        off={"iterations": 1},
        short={"iterations": 1},
    ),
    "naive_student": MethodSettings(
        on={**ONE_ROUND, "student_weights": "teacher"}, off={"strong": "none", **ONE_ROUND}, short=ONE_ROUND
    ),
    "noisy_student": MethodSettings(on=ONE_ROUND, off={"cutout_p": 0, **ONE_ROUND}, short=ONE_ROUND),
    "pseudoseg": MethodSettings(on={}, off={"pseudo_weight": 0}, variants={"labels": {"image_labels": True}}),
    "advsemseg": MethodSettings(
        on={"self_training_start": 0, "trust_thresh": 0.5, "discriminator_width": 4},
        off={**ADVERSARIAL_OFF, "discriminator_width": 4},
    ),
    "s4gan": MethodSettings(
        on={"trust_thresh": 0.5, "discriminator_width": 4},
        off={"feature_matching_weight": 0, "self_training_weight": 0, "discriminator_width": 4},
        variants={
            "mlmt": {
                "multi_label": True,
                "presence_start": 0,
                "presence_thresh": 0.5,
                "discriminator_width": 4,
            }
        },
    ),
}
"""By `method.name`."""

ALL_ON = {
    **{name: one.on for name, one in SETTINGS.items()},
    **{f"{name}+{variant}": on for name, one in SETTINGS.items() for variant, on in one.variants.items()},
}
"""`method.name`, or `method.name+variant`: the settings under which all terms count."""


def section(name: str) -> Values:
    """The section `method` of an entry of `ALL_ON`."""
    return {"name": name.partition("+")[0], **ALL_ON[name]}


def most(method: str) -> str:
    """The entry of `ALL_ON` in which a step of ``method`` does most: its last variant, or itself."""
    return [name for name in ALL_ON if name.partition("+")[0] == method][-1]


def stages(section: Values) -> int:
    """The trainings that a method with this section goes through, as it says itself; each takes an epoch at least."""
    return _stages(json.dumps(section))


@functools.cache
def _stages(section: str) -> int:
    from trainers.config import TrainConfig
    from trainers.loop.stages import stages_of

    return len(stages_of(TrainConfig.model_validate({**SMALL, "method": json.loads(section)})))
