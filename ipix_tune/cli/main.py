"""The console script `ipix-tune`: one name for all command lines, each loaded only when it is called."""

import importlib
import sys
from collections.abc import Callable

import typer

from ipix_tune.cli.exit_codes import run

COMMANDS = {
    "init": ("ipix_tune.cli.init", "Look at a folder of images and masks, and write a study of it."),
    "coco-masks": ("trainers.cli.coco_masks", "Class masks from the outlines of COCO's instance JSON: --out."),
    "sweep": ("ipix_tune.cli.sweep", "Run a study file on Ray: --dry-run, --smoke, --resume, --set key=value."),
    "confirm": (
        "ipix_tune.cli.confirm",
        "Is the best config better, or lucky? Paired seeds until the verdicts are in: --resume, --dry-run.",
    ),
    "simulate": (
        "ipix_tune.cli.simulate",
        "Run a study on learning curves instead of trainings: --curves, --concurrent, --out.",
    ),
    "report": ("analysis.report", "Tables, plots and report.html from a study's W&B logs."),
    "compare": ("analysis.compare", "Several studies side by side, and one answer on what several confirmed."),
    "export": ("ipix_tune.cli.export", "Write the best training config of a study, with where it came from."),
    "train": ("ipix_tune.cli.train", "Train one config here, or with --workers through Ray Train."),
    "predict": ("trainers.cli.predict", "Masks of images by a trained network: --overlay, --list, --scales, --flip."),
    "evaluate": (
        "trainers.cli.evaluate",
        "Score a trained network on a list: IoU, Dice, boundary IoU with intervals, confusion matrix.",
    ),
    "model-card": (
        "trainers.cli.model_card",
        "Describe a trained network in a README.md: training, data, scores with intervals.",
    ),
    "export-model": (
        "trainers.cli.export_model",
        "A network by torch.export and ONNX, checked against its eager output.",
    ),
    "validate": ("ipix_tune.cli.validate", "Check a study file or a training config without starting anything."),
    "repair": ("ipix_tune.cli.repair", "Complete a study's W&B logs from its own record, and make its report anew."),
    "wandb-sync": ("ipix_tune.cli.upload", "Send runs that were logged to disk only to the W&B server."),
    "wandb-workspace": (
        "ipix_tune.cli.wandb_workspace",
        "Save a workspace of a study on W&B: score, parameters, the inter-pixel distances, rungs.",
    ),
    "draw-splits": ("trainers.cli.draw_splits", "Draw labelled splits of a data set, nested and with every class."),
    "keys": (
        "ipix_tune.cli.keys",
        "Keys of study files and training configs: type, range, default, meaning.",
    ),
    "schema": ("ipix_tune.cli.schema", "Write the schema of study files, by which editors complete and check."),
}
"""By name: the module whose `app` the command is, and its line of help."""

app = typer.Typer(
    name="ipix-tune",
    help="Hyperparameter studies of semi-supervised segmentation: search, report, export, train.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _forward(module: str) -> Callable[[typer.Context], None]:
    def command(ctx: typer.Context) -> None:
        run(importlib.import_module(module).app, args=ctx.args, prog_name=f"ipix-tune {ctx.info_name}")

    return command


for _name, (_module, _help) in COMMANDS.items():
    _own_options = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(_name, help=_help, context_settings=_own_options, add_help_option=False)(_forward(_module))


def main() -> None:
    """Entry point of the console script."""
    run(app, args=sys.argv[1:], prog_name="ipix-tune")


if __name__ == "__main__":
    main()
