"""Keys of other sections that not every method makes use of, for `others_only_if` of the methods' configs."""

from trainers.common.depends_on import Above, OnlyIf

STRONG_VIEWS = tuple(
    f"views.{key}"
    for key in (
        "jitter_p",
        "brightness",
        "contrast",
        "saturation",
        "hue",
        "gray_p",
        "blur_p",
        "blur_sigma_min",
        "blur_sigma_max",
    )
)
"""What makes a strong view."""

BOX_SHAPE = tuple(f"views.cutmix_{key}" for key in ("p", "boxes", "area_min", "area_max", "ratio_min"))
"""What draws a CutMix box."""

CUTMIX = (*BOX_SHAPE, "views.cutmix_partner")
"""The same, and what is pasted into it. The partner has no condition on `views.cutmix_p`: its forward pass moves the
batch statistics of some teachers where nothing is pasted, too."""

TARGET = ("interpixel.target",)
"""It tells pasted pixels from others, and so needs some."""

FEATURE_STREAM = ("interpixel.views",)
"""It asks for a feature-dropout stream."""

EPOCH_BASE = ("schedule.epoch_base",)

NEVER = OnlyIf()
IF_BOXES = OnlyIf({"views.cutmix_p": Above(0)})
LABELLED_OFFLINE = {
    CUTMIX: NEVER,
    EPOCH_BASE: OnlyIf({"method.stage_length": "equal"}),
    TARGET: NEVER,
    FEATURE_STREAM: NEVER,
}
"""Of methods that label all images between trainings, and whose `stage_length` says how long an epoch is."""
IF_PAIRS = OnlyIf({"interpixel.alpha": Above(0)})
