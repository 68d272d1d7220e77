"""What our side of a timing trains."""

from typing import Any

from benchmarks.helpers.step_turns import Side


def config_of(side: Side) -> Any:
    """The training config that does what the other sides do."""
    from trainers.config import TrainConfig

    small = side.backbone == "small"
    lists = {"labelled": "labelled.txt", "unlabelled": "unlabelled.txt", "val": "holdout.txt"}
    return TrainConfig.model_validate(
        {
            "data": {
                "name": "voc",
                "root": side.data,
                "crop": side.crop,
                "batch_size": side.batch,
                "loader_workers": side.workers,
                **lists,
            },
            "method": {"name": side.method},
            "model": {
                "backbone": side.backbone,
                "stem": "7x7" if small else "deep",
                "upsample": "bilinear",
                "weights": "none",
            },
            "views": {"cutmix_partner": side.partner},
            "interpixel": {"alpha": 1.0 if side.interpixel else 0.0},
            "optim": {"batch_norm": side.batch_norm},
            "schedule": {"epochs": 80, "steps_per_epoch": 100_000 // side.batch},
            "evaluation": {"final": True},
            "precision": {
                "device": side.device,
                "amp": "bf16" if side.precision == "bf16" else "off",
                "cpu_threads": side.threads,
                "compile": side.compile,
                "deterministic": "deterministic" not in side.off,
                "channels_last": "channels_last" not in side.off,
            },
        }
    )


def fill_store(run: Any) -> None:
    """Every image lies decoded on disk, as after the first epoch on a machine: what is timed is a later one."""
    images = {item.image: item for item in (*run.data.unlabelled, *run.data.labelled)}
    for item in images.values():
        run.reader(item, with_mask=item.mask is not None)
